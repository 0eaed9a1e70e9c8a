"""
Keys, tokens and passwords by the forms that their makers gave them; those without a form by the
word before them. Nothing is asked of anybody.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from headrace.errors import ConfigError
from headrace.guard.patterns import apart
from headrace.guard.types import Finding

# A group named `it` is the secret where the pattern needs more than that to know it.
FORMS = {
    "PRIVATE_KEY": r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]{0,20000}+"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
    "AWS_KEY": r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![A-Za-z0-9])",
    "GITHUB_TOKEN": r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,255}"
    r"|github_pat_[A-Za-z0-9_]{22,255})",
    "GITLAB_TOKEN": r"(?<![A-Za-z0-9])gl(?:pat|ptt|rt|dt|cbt)-[A-Za-z0-9_-]{20,64}",
    "SLACK_TOKEN": r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,250}"
    r"|https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,200}",
    "STRIPE_KEY": r"(?<![A-Za-z0-9])[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}",
    "MODEL_API_KEY": r"(?<![A-Za-z0-9])sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{20,250}",
    "GOOGLE_KEY": r"(?<![A-Za-z0-9])(?:AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,250})",
    "HUGGING_FACE_TOKEN": r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,100}",
    "PACKAGE_TOKEN": r"(?<![A-Za-z0-9])(?:npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,500})",
    "SENDGRID_KEY": r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}",
    "HEADRACE_KEY": r"(?<![A-Za-z0-9])hr-[0-9A-Za-z]{8}-[0-9A-Za-z]{49}",
    "JWT": r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4000}+\.eyJ[A-Za-z0-9_-]{8,4000}+"
    r"\.[A-Za-z0-9_-]{16,1000}",
    "URL_PASSWORD": r"(?<=://)[^\s/:@\"']{1,100}+:(?P<it>[^\s/@\"']{3,200})(?=@)",
    "BEARER_TOKEN": r"(?:[Bb]earer|BEARER) (?P<it>[A-Za-z0-9._~+/-]{20,4000}={0,2})",
    "PASSWORD": r"(?i:(?<![a-z])(?:password|passwd|passphrase|pwd|secret|api[_ -]?key"
    r"|access[_ -]?key"
    r"|(?:access|auth|api|refresh)[_ -]?token|client[_ -]?secret|secret[_ -]?(?:access[_ -]?)?key)"
    r"[\"']?\s{0,3}(?::=|[:=]|\bis\b)\s{0,3})[\"'`]?(?P<it>[^\s\"'`,;<>(){}]{7,199}[^\s\"'`,;<>(){}.!?:])",
}
# Without one of these words a form is not there, which is found out thirty times as fast.
HINTS = {
    "PRIVATE_KEY": ("PRIVATE KEY",),
    "AWS_KEY": ("AKIA", "ASIA", "ABIA", "ACCA"),
    "GITHUB_TOKEN": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "GITLAB_TOKEN": ("glpat-", "glptt-", "glrt-", "gldt-", "glcbt-"),
    "SLACK_TOKEN": ("xox", "hooks.slack.com"),
    "STRIPE_KEY": ("k_live_", "k_test_"),
    "MODEL_API_KEY": ("sk-",),
    "GOOGLE_KEY": ("AIza", "ya29."),
    "HUGGING_FACE_TOKEN": ("hf_",),
    "PACKAGE_TOKEN": ("npm_", "pypi-AgE"),
    "SENDGRID_KEY": ("SG.",),
    "HEADRACE_KEY": ("hr-",),
    "JWT": ("eyJ",),
    "URL_PASSWORD": ("://",),
    "BEARER_TOKEN": ("earer ", "EARER "),
    "PASSWORD": (),
}
_ASSIGNED = re.compile(r"[:=]|\bis\b|\bIS\b", re.ASCII)  # before a password
LEAST_BITS = 2.5  # of entropy a letter, for what is known by the word before it only


class Secrets:
    """The detector (``Detector``)."""

    sentences = heavy = False

    def __init__(self, kinds: Sequence[str] = ()) -> None:
        """
        Look for these, or for all.

        Raises:
            ConfigError: one of them is not known.

        """
        for name in kinds:
            if name not in FORMS:
                known = ", ".join(FORMS)
                raise ConfigError(f"There is no kind of secret {name!r}; there are {known}.")
        self._forms = [
            (name, re.compile(form, re.ASCII))
            for name, form in FORMS.items()
            if name in (kinds or FORMS)
        ]

    def find(self, text: str) -> list[Finding]:
        """What is there, in the order of their places."""
        found: list[Finding] = []
        for name, form in self._forms:
            hints = HINTS[name]
            if hints and not any(hint in text for hint in hints):
                continue
            if not hints and _ASSIGNED.search(text) is None:
                continue
            for match in form.finditer(text):
                start, end = match.span("it" if "it" in form.groupindex else 0)
                if name != "PASSWORD" or _is_random(text[start:end]):
                    found.append(Finding(name, start, end))
        return apart(found)


def _is_random(value: str) -> bool:
    """Whether it looks made rather than said: no plain word, not one letter again and again."""
    if value.rstrip(".!?").isalpha():
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= LEAST_BITS
