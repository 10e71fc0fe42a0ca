"""Distribution `swift-trl-ext`: loose ranges here, the exact tested sets in launch/constraints-*.txt."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ["datasets_builders", "launch", "swift_ext", "trl_ext"]
PAGES = "launch.pages"

CORE = [
    "numpy>=1.26",
    "scipy>=1.15",
    "torch>=2.7",
    "transformers>=4.56.2,<5.25",
    "peft>=0.19,<0.22",
    "accelerate>=1.6",
    "datasets>=4.0",
    "pyarrow>=15",
    "pydantic>=2.9",
    "pydantic-settings>=2.6",
    "safetensors>=0.5",
    "filelock>=3.13",
    "PyYAML>=6",
    "rich>=13",
    "jinja2>=3.1",
    "tqdm>=4.66",
]
EXTRAS = {
    # ms-swift 4.6.0 imports msgspec without declaring it, hence the second entry.
    "swift": ["ms-swift>=4.6.0,<4.7", "msgspec>=0.19", "trl>=0.29.1,<1.0", "tensorboard>=2.16.2"],
    # tensorboard is what the run files log to; 2.16.0 brings TensorFlow along. TRL 0.29.1 imports requests without declaring it.
    "trl": ["trl>=0.29.1,<1.17", "tensorboard>=2.16.2", "requests>=2.31"],
    # `LLM.enqueue`, which --backend vllm uses, is in 0.17 and not in 0.12.
    "vllm": ["vllm>=0.17"],
    "deepspeed": ["deepspeed>=0.18"],
    "eval": ["moocore>=0.3", "matplotlib>=3.8", "doit>=0.36", "evaluate>=0.4.3"],
    "ui": ["gradio>=6.20,<7"],
    "server": ["fastapi>=0.115", "uvicorn>=0.30"],
    "tune": ["optuna>=4.5,<6"],
    "wandb": ["wandb>=0.19"],
    "api": ["openai>=1.60", "anthropic>=2.0", "tenacity>=9", "aiolimiter>=1.2"],
    "gguf": ["gguf>=0.10"],
    "gold": ["hanta>=1.2", "nltk>=3.9"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
    "dev": [
        "pytest>=8",
        "pytest-benchmark>=5",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.9",
        "mypy>=1.15",
        "pre-commit>=4",
        "selenium>=4.30",
        "nbclient>=0.10",  # runs the notebooks in a test
        "ipykernel>=6.29",
    ],
}

setup(
    name="swift-trl-ext",
    version="0.1.0",
    description="Multi-objective preference optimisation for stock ms-swift and TRL",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=[
        *find_packages(include=[name for package in PACKAGES for name in (package, f"{package}.*")]),
        PAGES,
    ],
    # What messages and copied run files name of the documentation has to be there without a checkout.
    package_dir={PAGES: "docs"},
    entry_points={"console_scripts": ["swift-trl-ext = launch.__main__:console"]},
    package_data={
        "launch": [
            "py.typed",
            "*.txt",
            "runs/**/*",
            "data/*",
            "doctor/*.json",
            "reproduce/published/*",
            "accelerate/*",
            "deepspeed/*",
            "fsdp/*",
            "slurm/*",
        ],
        **{package: ["py.typed"] for package in PACKAGES if package != "launch"},
        PAGES: ["*.md", "notebooks/*.ipynb"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
)
