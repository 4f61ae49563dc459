"""Make a Hugging Face tokenizer of our vocabulary, for kvlint; runs in the peer's environment.

    python kvlint_tokenizer.py VOCABULARY PATTERN FOLDER

Its chat template writes each message's content on a line of its own, so that texts do not run into
each other and no other tokens are added.
"""

from __future__ import annotations

import sys

from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

vocabulary, pattern, folder = sys.argv[1:]
converted = TikTokenConverter(vocab_file=vocabulary, pattern=pattern).converted()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=converted)
tokenizer.chat_template = (
    "{% for message in messages %}{{ message['content'] + '\\n' }}{% endfor %}"
)
tokenizer.save_pretrained(folder)
