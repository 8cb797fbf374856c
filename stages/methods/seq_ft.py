"""Sequential fine-tuning: one LoRA on all slots, trained on through the stream."""

from stages.methods.base import Method

METHOD = Method
