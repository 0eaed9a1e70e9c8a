"""
Personal data by Microsoft Presidio (extra ``guard``), offline: its recognisers by pattern, and with
a spaCy model that is installed those of names and places. Slow: a worker process's work.
"""

import importlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from headrace.config.guards import Pii
from headrace.errors import StartError
from headrace.guard.patterns import apart
from headrace.guard.types import Finding

# Presidio finds the following by patterns; dates and URLs are left out: hardly a text has none.
ENTITIES = (
    "CREDIT_CARD", "CRYPTO", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS",
    "PHONE_NUMBER", "US_SSN",
)  # fmt: skip
NAMES = ("PERSON", "LOCATION")  # with a model


class Presidio:
    """The detector (``Detector``)."""

    heavy = True

    def __init__(self, config: Pii) -> None:
        """
        Load it: some seconds.

        Raises:
            StartError: a package or the model is not installed, or nothing recognises an entity.

        """
        self._language = config.language
        self._score = config.score
        self.sentences = config.model is not None
        wanted = config.entities or (*ENTITIES, *(NAMES if config.model is not None else ()))
        analyzer = _module("presidio_analyzer")
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        engine = _nlp_engine(config)
        registry = analyzer.RecognizerRegistry(supported_languages=[config.language])
        registry.load_predefined_recognizers(languages=[config.language], nlp_engine=engine)
        for recognizer in [*registry.recognizers]:
            if not {*recognizer.supported_entities} & {*wanted}:
                registry.remove_recognizer(recognizer.name)
            elif recognizer.name == "EmailRecognizer":
                recognizer.validate_result = _is_domain
        known = {name for each in registry.recognizers for name in each.supported_entities}
        for name in wanted:
            if name not in known:
                raise StartError(f"Presidio has no recogniser of {name!r} for {config.language!r}.")
        self._entities = [*wanted]
        self._analyzer = analyzer.AnalyzerEngine(
            registry=registry, nlp_engine=engine, supported_languages=[config.language]
        )

    def find(self, text: str) -> list[Finding]:
        """What is there, in the order of their places; of two that overlap the surer one."""
        found = self._analyzer.analyze(
            text, self._language, entities=self._entities, score_threshold=self._score
        )
        surest_first = sorted(found, key=lambda each: (-each.score, each.start - each.end))
        return apart([Finding(each.entity_type, each.start, each.end) for each in surest_first])


def _is_domain(shown: str) -> bool:
    """
    Whether an address ends in a domain that there can be. Presidio asks a list of all suffixes,
    which it would download.
    """
    labels = shown.rpartition("@")[2].split(".")
    return len(labels) > 1 and all(labels) and labels[-1].isalpha() and len(labels[-1]) > 1


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise StartError(
            f"A guard needs the package {error.name}; install it with"
            " `pip install 'headrace[guard]'`."
        ) from error


def _nlp_engine(config: Pii) -> Any:
    """What splits a text into words, and with a model finds names in it."""
    provider = importlib.import_module("presidio_analyzer.nlp_engine")
    if config.model is None:
        return _words(provider, config.language)
    util = _module("spacy.util")
    if not util.is_package(config.model):
        raise StartError(
            f"The spaCy model {config.model!r} is not installed; install its package, or leave out"
            " `pii.model` to find what has a pattern."
        )
    engine = provider.SpacyNlpEngine(
        models=[{"lang_code": config.language, "model_name": config.model}]
    )
    engine.load()
    return engine


def _words(provider: Any, language: str) -> Any:
    """Words only: of them Presidio needs those around a finding, such as `card` before a number."""
    return type("Words", (_Words, provider.NlpEngine), {})(
        _module("spacy").blank(language), provider.NlpArtifacts, language
    )


class _Words:
    """Splits at what is no letter (``NlpEngine``)."""

    def __init__(self, split: Any, made: Any, language: str) -> None:
        self._split = split
        self._made = made
        self._language = language

    def load(self) -> None:
        """Nothing is to be loaded."""

    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> Any:
        doc = self._split(text)
        return self._made(
            entities=[],
            tokens=doc,
            tokens_indices=[token.idx for token in doc],
            lemmas=[token.lower_ for token in doc],
            nlp_engine=self,
            language=language,
        )

    def process_batch(
        self, texts: Iterable[str], language: str, **_options: Any
    ) -> Iterator[tuple[str, Any]]:
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, _language: str) -> bool:
        return bool(self._split.vocab[word].is_stop)

    def is_punct(self, word: str, _language: str) -> bool:
        return bool(self._split.vocab[word].is_punct)

    def get_supported_entities(self) -> Sequence[str]:
        return []

    def get_supported_languages(self) -> Sequence[str]:
        return [self._language]
