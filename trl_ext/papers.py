"""Papers of the methods, as upstream's model cards take them."""

MODPO = {
    "title": "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization",
    "id": "2310.03708",
    "citation": """@article{zhou2023beyond,
    title   = {{Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization}},
    author  = {Zhou, Zhanhui and Liu, Jie and Shao, Jing and Yue, Xiangyu and Yang, Chao and Ouyang, Wanli and Qiao, Yu},
    journal = {arXiv preprint arXiv:2310.03708},
    year    = 2023
}""",
}
MOODPO = {
    "title": "Robust Multi-Objective Preference Alignment with Online DPO",
    "id": "2503.00295",
    "citation": """@article{gupta2025robust,
    title   = {{Robust Multi-Objective Preference Alignment with Online DPO}},
    author  = {Gupta, Raghav and Sullivan, Ryan and Li, Yunxuan and Phatale, Samrat and Rastogi, Abhinav},
    journal = {arXiv preprint arXiv:2503.00295},
    year    = 2025
}""",
}
D2PO = {
    "title": "D2PO: Discriminator-Guided DPO with Response Evaluation Models",
    "id": "2405.01511",
    "citation": """@article{singhal2024d2po,
    title   = {{D2PO: Discriminator-Guided DPO with Response Evaluation Models}},
    author  = {Singhal, Prasann and Lambert, Nathan and Niekum, Scott and Goyal, Tanya and Durrett, Greg},
    journal = {arXiv preprint arXiv:2405.01511},
    year    = 2024
}""",
}
