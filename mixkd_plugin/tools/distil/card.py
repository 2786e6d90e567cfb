"""README.md of the student: its model card."""

from .data import Data


def model_card(shape: str, report: str, length: int, about: str, data: Data) -> str:
    """
    shape: of the student
    report: in Markdown
    about: what it learned from
    """
    example = '{"text": "...", "text_pair": "..."}' if data.pairs else '"..."'
    several = ""
    if data.multi_label:
        example += ", top_k=None"
        several = "\nA text has each label whose score is above 0.5."
    return f"""---
library_name: transformers
pipeline_tag: text-classification
---

# A student of {shape}

{report}
```python
from transformers import pipeline

classify = pipeline("text-classification", model=".", truncation=True)
print(classify({example}))
```

Texts of more than {length} tokens are cut, as in training.{several}
It learnt from: {about}.
`commands.sh` has every command that made it, `plan.yaml` its settings, `checkpoint.pt` is the
fairseq checkpoint.
"""
