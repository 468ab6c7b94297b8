"""Sizes of the bundled model; all weights in bf16 must stay within 58,000,000 bytes."""

kVae = {
    "_class_name": "AutoencoderKLFlux2",
    "_diffusers_version": "0.40.0.dev0",
    "act_fn": "silu",
    "batch_norm_eps": 0.0001,
    "batch_norm_momentum": 0.1,
    "block_out_channels": [32, 64, 96, 128],
    "decoder_block_out_channels": [32, 64, 128, 128],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 16,
    "layers_per_block": 1,
    "mid_block_add_attention": True,
    "norm_num_groups": 16,
    "out_channels": 3,
    "patch_size": [2, 2],
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}

kTaps = [0, 1, 2, 3]
kTextConfig = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 192,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 4096,
    "model_type": "qwen3_vl_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "pad_token_id": None,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "mrope_interleaved": True,
        "mrope_section": [12, 10, 10],
        "rope_theta": 10000.0,
        "rope_type": "default",
    },
    "use_cache": True,
    "vocab_size": 0,  # set from the tokenizer
}


def text_encoder(vocab):
    return {
        "architectures": ["Qwen3VLModel"],
        "dtype": "bfloat16",
        "model_type": "qwen3_vl",
        "text_config": {**kTextConfig, "vocab_size": vocab},
        "tie_word_embeddings": False,
    }


def transformer(heads, layers, hidden, adaln, text):
    return {
        "_class_name": "Ideogram4Transformer2DModel",
        "_diffusers_version": "0.40.0.dev0",
        "adaln_dim": adaln,
        "attention_head_dim": 64,
        "in_channels": 4 * kVae["latent_channels"],
        "intermediate_size": hidden,
        "llm_features_dim": text,
        "mrope_section": [12, 10, 10],
        "norm_eps": 1e-05,
        "num_attention_heads": heads,
        "num_layers": layers,
        # Small: on a 16 x 16 grid the fast frequencies must tell neighbours apart, and none is idle.
        "rope_theta": 1000,
    }


kConditional = transformer(6, 8, 1024, 64, kTextConfig["hidden_size"] * len(kTaps))
# Text features never enter this one; its projection is kept as small as the layout allows.
kUnconditional = transformer(4, 4, 512, 64, 16)

kScheduler = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.40.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "invert_sigmas": False,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": None,
    "stochastic_sampling": False,
    "time_shift_type": "exponential",
    "use_beta_sigmas": False,
    "use_dynamic_shifting": False,
    "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}

kModelIndex = {
    "_class_name": "Ideogram4Pipeline",
    "_diffusers_version": "0.40.0.dev0",
    "intaglio": {"default_steps": 24, "default_guidance": 4.0, "default_size": [256, 256], "only_default_size": True, "quoted_capitals": True},
    "prompt_enhancer_head": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_activation_layers": kTaps,
    "text_encoder": ["transformers", "Qwen3VLModel"],
    "tokenizer": ["transformers", "TokenizersBackend"],
    "transformer": ["diffusers", "Ideogram4Transformer2DModel"],
    "unconditional_transformer": ["diffusers", "Ideogram4Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
}


def scaled_down():
    """A miniature of everything, to try every line on a CPU in seconds."""
    kVae.update(block_out_channels=[16, 16, 16, 16], decoder_block_out_channels=[16, 16, 16, 16])
    kTextConfig.update(hidden_size=64, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1)
    kConditional.update(
        num_attention_heads=2, num_layers=2, intermediate_size=128, llm_features_dim=64 * len(kTaps)
    )
    kUnconditional.update(num_attention_heads=1, num_layers=1, intermediate_size=64)
