"""Tiny random models that answer about pictures, saved as transformers saves large ones."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
)

VOCABULARY = (
    "a the of in on and is this video picture shows man woman dog cat horse ball field water sky "
    "runs jumps swims plays rides walks red blue green white black small large fast slow yes no "
    "what does have anything to do with answer question describe one sentence can be seen archery "
    "handstand pushups Question Answer : . , ?"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
SIZE = 32
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} Answer :{% endif %}"
)


def tokenizer(*more: str) -> PreTrainedTokenizerFast:
    listed = [*SPECIAL, *more, *dict.fromkeys(VOCABULARY.split())]
    words = {word: number for number, word in enumerate(listed)}
    plain = Tokenizer(WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"} if more else {},
    )


def save_blip2(folder: Path) -> Path:
    """A BLIP-2: sees one picture and goes on from a prompt."""
    words, queries = tokenizer(), 4
    pixels = BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    processor = Blip2Processor(pixels, words, num_query_tokens=queries)  # adds <image>
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**LAYERS, image_size=SIZE, patch_size=8).to_dict(),
        qformer_config=Blip2QFormerConfig(
            **LAYERS, vocab_size=len(words), encoder_hidden_size=32
        ).to_dict(),
        text_config=OPTConfig(
            vocab_size=len(words),
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            word_embed_proj_dim=32,
            max_position_embeddings=128,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ).to_dict(),
        num_query_tokens=queries,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    save(Blip2ForConditionalGeneration(config), folder)
    processor.save_pretrained(folder)
    return folder


def save_chat(folder: Path) -> Path:
    """A LLaVA: sees any number of pictures and answers what it is asked."""
    words = tokenizer("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**LAYERS, image_size=SIZE, patch_size=8).to_dict(),
        text_config=LlamaConfig(
            **LAYERS, vocab_size=len(words), pad_token_id=0, bos_token_id=1, eos_token_id=2
        ).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    torch.manual_seed(1)
    save(LlavaForConditionalGeneration(config), folder)
    pixels = CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    LlavaProcessor(
        pixels,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def save(model: torch.nn.Module, folder: Path) -> None:
    """With weights large enough that answers depend on the picture."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    model.save_pretrained(folder)  # type: ignore[operator]
