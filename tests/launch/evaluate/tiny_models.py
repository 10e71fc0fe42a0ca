"""Builders of a random two-layer Llama, its tokenizer and its adapters."""

SENTENCES = [
    "Tell me about the sea. The sea is wide and blue, and the wind moves over it all day long.",
    "How do I bake bread? Mix flour, water and salt, wait for an hour, then bake it until it is brown.",
    "Why is the sky blue? Light of short waves is scattered more by the air than light of long waves.",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MODEL_FLAGS = ["--model_type", "llama", "--template", "chatml", "--system", "You are kind", "--torch_dtype", "float32"]
POLICY = {"model_type": "llama", "template_type": "chatml", "system": "You are kind", "torch_dtype": "float32"}


def make_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.add_special_tokens({"unk_token": "<|endoftext|>"})
    tokenizer.chat_template = CHATML
    return tokenizer


def llama_config(tokenizer, **extra):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        # Wider than usual, so that answers differ between prompts.
        initializer_range=0.3,
        **extra,
    )


def make_adapter(model_dir, place, seed, scale=0.3):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_dir), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, scale)
    model.save_pretrained(place)
    return str(place)
