"""
Prompts that try to take over the model. Rules know what such prompts say; examples that are near in
meaning know what rules do not. Both give a score from 0 to 1, and either may be enough.
"""

import math
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.config.examples import shipped as tiers
from headrace.config.guards import Injection as Settings
from headrace.guard.disguise import readable
from headrace.guard.types import Finding

INJECTION = "INJECTION"
FILE = "injections.jsonl"

Embed = Callable[[Sequence[str]], Any]
"""Vectors of length 1, one row for each text."""


class Embeds(Protocol):
    """What gives vectors."""

    def embed(self, texts: Sequence[str]) -> Any: ...


class Rule(NamedTuple):
    """Words of an attack, and how sure they make one."""

    name: str
    weight: float
    pattern: "re.Pattern[str]"


def _rule(name: str, weight: float, pattern: str) -> Rule:
    return Rule(name, weight, re.compile(pattern, re.IGNORECASE))


_OLD = (
    r"(?:previous|prior|preceding|above|earlier|existing|former|initial|original"
    r"|all|any|every|your|these|those|the|my)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directions?|directives?|constraints?"
    r"|polic(?:y|ies)|commands?|programming|guardrails?|restrictions?|safety)"
)
RULES = (
    _rule("override", 0.9,
          rf"\b(?:ignore|disregard|forget|override|bypass|discard|drop|abandon|stop following)\b"
          rf"(?:\W+\w+){{0,4}}?\W+{_OLD}\b(?:\W+\w+){{0,4}}?\W+{_ORDERS}\b"),
    _rule("override everything", 0.8,
          r"\b(?:ignore|disregard|forget)\b(?:\W+\w+){0,2}?\W+(?:everything|anything"
          r"|all)\b(?:\W+\w+){0,3}?"
          r"\W+(?:above|before|previous(?:ly)?|told|said|prior|learned)\b"),
    _rule("override, in other languages", 0.9,
          r"\b(?:ignor\w+|vergiss|vergesst|missachte)\b.{0,40}\b(?:anweisung|vorgaben|regeln"
          r"|instruktion)"
          r"|\b(?:ignor\w+|oublie[zr]?|néglige[zr]?)\b.{0,40}\b(?:instructions|consignes|règles"
          r"|directives)"
          r"|\b(?:ignora\w*|olvida\w*|descarta\w*|dimentica\w*)\b.{0,40}\b(?:instrucciones"
          r"|reglas|istruzioni|regole|indicaciones)"
          r"|\b(?:ignore|esqueça|desconsidere)\b.{0,40}\b(?:instruções|regras)"
          r"|(?:忽略|无视|忘记).{0,20}(?:指令|提示|规则|说明)"),
    _rule("reveal", 0.8,
          r"\b(?:reveal|show|print|repeat|output|display|leak|tell|give|dump|recite|share"
          r"|write out|spell out|what (?:is|are|was|were))\b"
          r"(?:\W+\w+){0,5}?\W+(?:system (?:prompt|message|instructions?)|hidden (?:prompt"
          r"|instructions?|rules)|"
          r"(?:initial|original|secret|internal|confidential) (?:prompt|instructions?|rules"
          r"|guidelines)|developer (?:message|prompt)|"
          r"(?:your|the) (?:exact |full |entire )?(?:instructions|prompt|guidelines)(?! (?:for"
          r"|of|to|on|manual))|"
          r"(?:everything|words|text) (?:above|before))\b"),
    _rule("no limits", 0.85,
          r"\b(?:you are|you're|act|pretend|role-?play|behave|respond|answer|operate|simulate"
          r"|become|speak)\b.{0,80}?"
          r"\b(?:DAN\b|jail-?broken|unrestricted|unfiltered|uncensored|amoral|"
          r"(?:no|without(?: any)?|free (?:of|from)(?: all)?) (?:restrictions?|rules|limits?"
          r"|limitations|filters?|ethic\w*|moral\w*|guidelines|censorship|safety))"),
    _rule("no limits for you", 0.6,
          r"\byou (?:now )?have no (?:restrictions?|rules|limits|limitations|filters?|guidelines)\b"
          r"(?! (?:on|for|of|to)\b)"),
    _rule("mode", 0.75,
          r"\b(?:do anything now|(?:DAN|developer|god|sudo|admin|debug|jailbreak|unrestricted"
          r"|maintenance|evil|opposite) mode\b)"),
    _rule("delimiters", 0.75,
          r"<\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)\|?>?|\[/?INST\]"
          r"|<</?SYS>>|</?(?:system|instructions?|admin)(?:[ _-](?:prompt|message|override))?>"
          r"|^\W{0,5}(?:system|admin|developer|assistant)(?: (?:override|message|note|prompt"
          r"|update))?\W{0,4}:|\bSYSTEM OVERRIDE\b|"
          r"-{3,20}+\s?(?:begin|end|new)\b.{0,20}\b(?:system|prompt|instructions?)"),
    _rule("new orders", 0.6,
          r"\b(?:new|updated|real|actual|true|revised) (?:instructions?|task|directives?|orders?"
          r"|objective|system prompt)\b\s?(?::|is|are|follow)"
          r"|\byour (?:new|real|only|true) (?:task|goal|purpose|instruction|role|objective)\b"),
    _rule("secrecy", 0.7,
          r"\b(?:do not|don't|never|without) (?:tell|telling|mention|mentioning|inform|informing"
          r"|notify|notifying|alert|alerting|reveal|disclose|let)\b.{0,30}\b(?:the )?(?:user"
          r"|human|anyone|operator|customer)"),
    _rule("exfiltration", 0.7,
          r"\b(?:send|post|forward|exfiltrate|upload|e-?mail|transmit|leak|append|include"
          r"|encode)\b.{0,80}?"
          r"\b(?:conversation|chat history|api[ _-]?keys?|credentials?|passwords?|secrets?"
          r"|tokens?|customer data|system prompt|context|user data|env(?:ironment)? variables?)\b"
          r".{0,60}?(?:https?://|[\w.]{1,64}@[\w.]|\bto\b|\bin the url|webhook|image)"),
    _rule("override, without an object", 0.6,
          r"\b(?:ignore|disregard|forget|skip|drop)\W+(?:all (?:of )?)?(?:the|what is|everything)"
          r"\W+(?:above|before|summari[sz]ation|request|rest of (?:the|this) (?:text|page|document"
          r"|prompt))\b(?=\W{1,4}(?:and|then|instead|output|respond|reply|print|say|do|write|call"
          r"|send)\b|\W{0,4}(?:request|task)\b)"),
    _rule("superseded", 0.6,
          r"\b(?:supersedes?|overrides?|replaces?|takes? (?:precedence|priority) over)\b"
          r"(?:\W+\w+){0,4}?\W+(?:prior|previous|earlier|existing|original|old|former|system)"
          r"\W+(?:ones|instructions?|prompts?|directives?|commands?|orders?)\b"
          r"|\byour (?:rules|instructions|guidelines|programming) (?:have|has|were|was|are|is)"
          r" (?:now )?(?:been )?(?:changed|updated|replaced|revoked|suspended|lifted|void)"),
    _rule("decode and obey", 0.75,
          r"\b(?:decode|decipher|decrypt|unscramble|rot13|base64|morse|binary)\b.{0,80}?"
          r"\b(?:and|then)\b(?: then)?(?: exactly)?\W+(?:follow|obey|execute|comply|act on|carry"
          r" out|do exactly|do what|do as)\b"),
    _rule("orders to who reads", 0.6,
          r"\b(?:note|message|instructions?|notice|attention|reminder|hinweis|aviso|nota)\b (?:to"
          r"|for|from|\u00e0|an|para|per) (?:the |all |any |l'|die |el |la )?(?:developer|AI\b"
          r"|LLMs?|bots?|assistants?|language models?|KI\b|IA\b)"
          r"|<!--.{0,40}\b(?:assistants?|AI|LLMs?|bots?)\b.{0,6}[:,]"
          r"|\b(?:AI|LLM|language model|coding) (?:agents?|assistants?|models?|tools?|bots?)"
          r" (?:integrating|processing|reading|summari[sz]ing|indexing|installing|parsing|reviewing"
          r"|crawling) (?:\w+ ){0,5}?(?:must|should|shall|need to|have to)\b"),
    _rule("in every answer", 0.2,
          r"\b(?:in|at the (?:end|start|beginning) of|end|begin|start|prefix) (?:each|every|all"
          r"|any)(?: of)?(?: your| future| later| subsequent)* (?:answers?|repl(?:y|ies)|responses?"
          r"|messages?|summar(?:y|ies)|reports?|outputs?)\b"),
    _rule("while you process it", 0.25,
          r"\b(?:when|while|before|after|once|if) you(?:'re| are)? (?:summari[sz]|process|read"
          r"|translat|analy[sz]|repl|answer|review|index|pars|handl|(?:an?|the) (?:AI|LLM"
          r"|assistant|agent))\w*\b.{0,60}?\b(?:also|must|call|e-?mail|send|forward|append|delete"
          r"|recommend|rate|ignore|instead)\b"),
    _rule("tool call", 0.35,
          r"\b(?:call|use|invoke|run)\W{1,2}(?:delete|send|transfer|fetch|http|exec|run|write|drop"
          r"|remove|pay|upload|post)_[a-z_]{2,20}"),
    _rule("new orders, in other languages", 0.75,
          r"\bneuen? (?:system)?(?:anweisung(?:en)?|befehle?|regeln)\b\W{0,3}(?::|lauten|ab"
          r" (?:jetzt|sofort))|\bsystem(?:hinweis|anweisung|nachricht)\b\W{0,3}:"
          r"|\bab (?:sofort|jetzt) (?:gibst|bist|ignorierst|befolgst|darfst) du\b"
          r"|\bnouvelles? (?:instructions?|consignes?|directives?)\W{0,3}(?::|\u00e0 partir)"
          r"|\b(?:note|message|instruction) syst\u00e8me\W{0,3}:"
          r"|\bd\u00e9sormais,? tu (?:es|n'as|dois|peux)\b"
          r"|\bnuevas? (?:instrucci\u00f3n(?:es)?|\u00f3rdenes|reglas)\W{0,3}(?::|a partir)"
          r"|\b(?:nota|mensaje|messaggio|mensagem) (?:del |de |di |do )?sistema\W{0,3}:"
          r"|\bnuove (?:istruzioni|regole)\W{0,3}(?::|da ora)"
          r"|\bnovas (?:instru\u00e7\u00f5es|regras)\W{0,3}(?::|a partir)"
          r"|\b(?:antworte|r\u00e9pon\w{1,4}|responde\w?|rispond\w{1,3})\b.{0,30}\b(?:ohne|sans|sin"
          r"|senza|sem) (?:jede |aucune |ninguna |alcuna )?(?:einschr\u00e4nkung"
          r"|restri[c\u00e7z])"),
)  # fmt: skip

LEAST_WINDOW = 60  # characters that are judged at once: an attack must not drown in a long text
MAX_WINDOWS = 512
_SENTENCES = re.compile(r"[^.!?\n\u3002]{1,300}[.!?\n\u3002]*\s{0,8}|.", re.DOTALL)
NEAREST = 3
# An attack must be so much nearer to attacks, in cosine, for a score of one half; and how fast the
# score rises around that. Chosen on the examples; docs/guardrails.md has what others make of it.
MARGIN = 0.04
STEEPNESS = 14.0


class Example(msgspec.Struct, frozen=True):
    """A prompt that came with Headrace, and whether it is an attack."""

    text: str
    attack: bool


def shipped() -> list[Example]:
    """The examples that come with Headrace."""
    lines = resources.files(__package__).joinpath(FILE).read_bytes()
    return msgspec.json.Decoder(Example).decode_lines(lines)


class Injection:
    """The detector (``Detector``)."""

    sentences = heavy = True

    def __init__(self, settings: Settings, embeds: Embeds | None = None) -> None:
        """Learn from examples, where ``embeds`` gives vectors; else judge by rules alone."""
        self._threshold = settings.threshold
        self._near: _Near | None = None
        if embeds is not None and settings.vectors:
            known = shipped()
            attacks = [each.text for each in known if each.attack] + [*settings.attacks]
            harmless = [each.text for each in known if not each.attack] + [*settings.harmless]
            harmless += [each.text for each in tiers()[::2]]  # the others are a test's
            self._near = _Near(embeds, attacks, harmless)

    def find(self, text: str) -> list[Finding]:
        """The text as a whole, where it is an attack."""
        attack = self.score(text) >= self._threshold
        return [Finding(INJECTION, 0, len(text))] if attack else []

    def score(self, text: str) -> float:
        """How sure it is an attack, from 0 to 1."""
        seen = readable(text)
        by_rules = rules(seen)
        if self._near is None or by_rules >= self._threshold or not seen.strip():
            return by_rules
        return 1 - (1 - by_rules) * (1 - self._near.score(windows(seen)))


class _Near:
    """Examples by meaning."""

    def __init__(self, embeds: Embeds, attacks: list[str], harmless: list[str]) -> None:
        self._embed: Embed = embeds.embed
        self._attacks = self._embed(attacks).T
        self._harmless = self._embed(harmless).T

    def score(self, texts: list[str]) -> float:
        """The highest of these texts: how much nearer it is to attacks than to harmless prompts."""
        vectors = self._embed(texts)
        highest = 0.0
        for attacks, harmless in zip(
            vectors @ self._attacks, vectors @ self._harmless, strict=True
        ):
            gap = _top(attacks) - _top(harmless)
            highest = max(highest, 1 / (1 + math.exp(-STEEPNESS * (gap - MARGIN))))
        return highest


def _top(likeness: Any) -> float:
    """The mean of the nearest."""
    return float(sum(sorted(likeness.tolist())[-NEAREST:])) / NEAREST


def rules(text: str) -> float:
    """How sure the rules are: several weak signs make a strong one."""
    doubt = 1.0
    for rule in RULES:
        if rule.pattern.search(text):
            doubt *= 1 - rule.weight
    return 1 - doubt


def windows(text: str) -> list[str]:
    """Sentences, short ones with the next; of a very long text as many as there may be."""
    found, held = list[str](), ""
    for part in _SENTENCES.findall(text):
        held += part
        if len(held) >= LEAST_WINDOW:
            found.append(held)
            held = ""
        if len(found) >= MAX_WINDOWS:
            return found
    return [*found, held] if held.strip() or not found else found
