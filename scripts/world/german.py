"""A small grammar that builds an English clause and its German translation side by side.

German needs gender, case, adjective endings, verb forms and three word orders (verb second, verb
first in questions, verb last in subordinate clauses); all of that lives here. The words are in
vocabulary.py.
"""

from __future__ import annotations

from dataclasses import dataclass

VOWELS = "aeiou"
DER = {"nom": ("der", "die", "das", "die"), "acc": ("den", "die", "das", "die")}
DER["dat"] = ("dem", "der", "dem", "den")
# Endings of "ein", "mein", "kein", ... and of "dies-": masculine, feminine, neuter, plural.
EIN = {"nom": ("", "e", "", "e"), "acc": ("en", "e", "", "e"), "dat": ("em", "er", "em", "en")}
DIES = {"nom": ("er", "e", "es", "e"), "acc": ("en", "e", "es", "e")}
DIES["dat"] = ("em", "er", "em", "en")
# Adjective endings after der-words, after ein-words, and without any article.
WEAK = {"nom": ("e", "e", "e", "en"), "acc": ("en", "e", "e", "en"), "dat": ("en",) * 4}
MIXED = {"nom": ("er", "e", "es", "en"), "acc": ("en", "e", "es", "en"), "dat": ("en",) * 4}
STRONG = {"nom": ("er", "e", "es", "e"), "acc": ("en", "e", "es", "e")}
STRONG["dat"] = ("em", "er", "em", "en")
POSSESSIVES = {
    "my": "mein",
    "your": "dein",
    "his": "sein",
    "her": "ihr",
    "our": "unser",
    "their": "ihr",
}
SEIN = {"1s": "bin", "2s": "bist", "3s": "ist", "1p": "sind", "3p": "sind"}
WAR = {"1s": "war", "2s": "warst", "3s": "war", "1p": "waren", "3p": "waren"}
HABEN = {"1s": "habe", "2s": "hast", "3s": "hat", "1p": "haben", "3p": "haben"}
WERDEN = {"1s": "werde", "2s": "wirst", "3s": "wird", "1p": "werden", "3p": "werden"}
MODALS = {
    "can": {"1s": "kann", "2s": "kannst", "3s": "kann", "1p": "können", "3p": "können"},
    "have to": {"1s": "muss", "2s": "musst", "3s": "muss", "1p": "müssen", "3p": "müssen"},
    "should": {"1s": "sollte", "2s": "solltest", "3s": "sollte", "1p": "sollten", "3p": "sollten"},
    "want to": {"1s": "will", "2s": "willst", "3s": "will", "1p": "wollen", "3p": "wollen"},
    "will": WERDEN,
}
BE = {"1s": "am", "2s": "are", "3s": "is", "1p": "are", "3p": "are"}
WAS = {"1s": "was", "2s": "were", "3s": "was", "1p": "were", "3p": "were"}


@dataclass(frozen=True)
class Noun:
    """A noun with its plural, gender and kind; weak nouns take -n outside the nominative."""

    en: str
    en_plural: str
    de: str
    gender: str
    de_plural: str
    kind: str
    weak: bool = False


@dataclass(frozen=True)
class Adjective:
    """An adjective; the stem is what the endings are added to (dunkel, dunkl-)."""

    en: str
    de: str
    stem: str
    more_en: str
    more_de: str


@dataclass(frozen=True)
class Phrase:
    """A noun phrase or pronoun in both languages, with the German cases."""

    en: str
    nom: str
    acc: str
    dat: str
    person: str
    kind: str
    en_object: str = ""
    own: str = ""

    @property
    def as_object(self) -> str:
        """The English form in object position."""
        return self.en_object or self.en


@dataclass(frozen=True)
class Verb:
    """A verb with its English and German forms; the particle is split off in main clauses."""

    en: str
    en_3s: str
    en_past: str
    en_ing: str
    particle: str
    de: str
    de_3s: str
    participle: str
    aux: str
    prefix: str

    def present(self, person: str) -> str:
        """The German present tense without the separable prefix."""
        if person == "3s":
            return self.de_3s
        if person in ("1p", "3p"):
            return self.de
        if person == "2s":
            base = self.de_3s[:-1]
            return self.de_3s if base[-1] in "sßz" else base + "st"
        if self.de.endswith("eln"):
            return self.de[:-3] + "le"
        return self.de[:-1] + ("e" if self.de.endswith("rn") else "")

    @property
    def infinitive(self) -> str:
        return self.prefix + self.de


@dataclass
class Clause:
    """The parts of a clause; English and German versions are read off them."""

    subject: Phrase
    verb: Verb
    tense: str = "present"
    direct: Phrase | None = None
    indirect: Phrase | None = None
    time: tuple[str, str] = ("", "")
    place: tuple[str, str] = ("", "")
    manner: tuple[str, str] = ("", "")
    negated: bool = False
    gladly: bool = False

    def english(self, front_time: bool = False) -> str:
        """The English clause, without capital letter and full stop."""
        head = [self.time[0]] if front_time else []
        tail = [] if front_time else [self.time[0]]
        parts = [*head, self.subject.en, self._english_verb(), *self._english_tail(), *tail]
        return join(parts)

    def english_question(self) -> str:
        """The English yes/no question."""
        word, rest = english_auxiliary(self.tense, self.subject.person, self.verb)
        negation = "not" if self.negated else ""
        parts = [word, self.subject.en, negation, rest, *self._english_tail(), self.time[0]]
        return join(parts)

    def _english_verb(self) -> str:
        person = self.subject.person
        if self.gladly:
            word = "like" if person != "3s" else "likes"
            return f"{word} to {self.verb.en}"
        if self.negated:
            word, rest = english_auxiliary(self.tense, person, self.verb)
            return f"cannot {rest}" if word == "can" else f"{word} not {rest}"
        if self.tense == "present":
            return self.verb.en_3s if person == "3s" else self.verb.en
        if self.tense == "past":
            return self.verb.en_past
        if self.tense in ("want to", "have to"):
            word = self.tense.split()[0]
            if person == "3s":
                word = {"want": "wants", "have": "has"}[word]
            return f"{word} to {self.verb.en}"
        return join(english_auxiliary(self.tense, person, self.verb))

    def _english_tail(self) -> list[str]:
        direct = self.direct.as_object if self.direct else ""
        objects = [self.indirect.as_object if self.indirect else ""]
        if self.direct and self.direct.kind == "pronoun":
            objects += [direct, self.verb.particle]
        else:
            objects += [self.verb.particle, direct]
        return [*objects, self.place[0], self.manner[0]]

    def german(self, order: str = "second", front_time: bool = False) -> str:
        """The German clause; order is second, first (questions) or last (subordinate)."""
        finite, end = self._german_verb()
        middle = self._german_middle(with_time=not front_time)
        if order == "last":
            return join([self.subject.nom, *middle, *end, finite])
        if order == "first":
            return join([finite, self.subject.nom, *middle, *end])
        if front_time:
            return join([self.time[1], finite, self.subject.nom, *middle, *end])
        return join([self.subject.nom, finite, *middle, *end])

    def subordinate(self) -> str:
        """The German subordinate clause: prefix and finite verb grow together at the end."""
        if self.tense in ("present", "continuous"):
            finite = self.verb.prefix + self.verb.present(self.subject.person)
            return join([self.subject.nom, *self._german_middle(True), finite])
        return self.german(order="last")

    def _german_verb(self) -> tuple[str, list[str]]:
        """The finite verb and what stands at the end of the clause."""
        person, verb = self.subject.person, self.verb
        if self.tense in ("present", "continuous"):
            return verb.present(person), [verb.prefix]
        if self.tense == "past":
            return (SEIN if verb.aux == "sein" else HABEN)[person], [verb.participle]
        return MODALS[self.tense][person], [verb.infinitive]

    def _german_middle(self, with_time: bool) -> list[str]:
        """What stands between the finite verb and the end of the clause, in German order.

        Pronouns and names come first, then time, dative, definite object, nicht or gern,
        manner, place and at last an indefinite object.
        """
        direct = self.direct.acc if self.direct else ""
        kind = self.direct.kind if self.direct else ""
        indirect = self.indirect.dat if self.indirect else ""
        early = self.indirect is not None and self.indirect.kind in ("pronoun", "name")
        return [
            direct if kind in ("pronoun", "name") else "",
            indirect if early else "",
            self.time[1] if with_time else "",
            "" if early else indirect,
            direct if kind == "definite" else "",
            "nicht" if self.negated and kind != "none" else "",
            "gern" if self.gladly else "",
            self.manner[1],
            self.place[1],
            direct if kind in ("indefinite", "none") else "",
        ]


def english_auxiliary(tense: str, person: str, verb: Verb) -> tuple[str, str]:
    """The English auxiliary and the verb form that follows it."""
    if tense == "continuous":
        return BE[person], verb.en_ing
    if tense == "past":
        return "did", verb.en
    if tense == "present":
        return ("does" if person == "3s" else "do"), verb.en
    if tense in ("want to", "have to"):
        return ("does" if person == "3s" else "do"), f"{tense} {verb.en}"
    return tense, verb.en


def join(parts: list[str] | tuple[str, ...]) -> str:
    """Join the parts that are not empty with single spaces."""
    return " ".join(part for part in parts if part)


def ending(table: dict[str, tuple[str, ...]], case: str, noun: Noun, plural: bool) -> str:
    """Look up an ending by case, gender and number."""
    return table[case][3 if plural else "mfn".index(noun.gender)]


def german_noun(noun: Noun, case: str, plural: bool) -> str:
    """The German noun in a case."""
    if not plural:
        return noun.de_plural if noun.weak and case != "nom" else noun.de
    add_n = case == "dat" and noun.de_plural[-1] not in "ns"
    return noun.de_plural + ("n" if add_n else "")


def german_np(
    det: str, adjectives: list[Adjective], noun: Noun, case: str, plural: bool = False
) -> str:
    """A German noun phrase; det is the, this, a, no, a possessive, a German number or empty."""
    if det == "the":
        article, table = DER[case][3 if plural else "mfn".index(noun.gender)], WEAK
    elif det == "this":
        article, table = "dies" + ending(DIES, case, noun, plural), WEAK
    elif det in ("a", "no") or det in POSSESSIVES:
        stem = {"a": "ein", "no": "kein"}.get(det) or POSSESSIVES[det]
        article, table = stem + ending(EIN, case, noun, plural), MIXED
    else:
        article, table = det, STRONG
    inflected = [adj.stem + ending(table, case, noun, plural) for adj in adjectives]
    return join([article, *inflected, german_noun(noun, case, plural)])


def english_np(det: str, adjectives: list[Adjective], noun: Noun, plural: bool = False) -> str:
    """The English noun phrase that belongs to german_np."""
    word = noun.en_plural if plural else noun.en
    words = [adj.en for adj in adjectives] + [word]
    if det == "a":
        det = "an" if words[0][0] in VOWELS else "a"
    if det == "no":
        countable = noun.en_plural and not plural
        det = ("an" if words[0][0] in VOWELS else "a") if countable else "any"
    return join([det, *words])


def noun_phrase(
    det: str, adjectives: list[Adjective], noun: Noun, plural: bool = False, number: str = ""
) -> Phrase:
    """Build a phrase in both languages; number is an English and a German numeral."""
    english, _, german = number.partition("|")
    cases = {c: german_np(german or det, adjectives, noun, c, plural) for c in DER}
    kinds = {"a": "indefinite", "": "indefinite", "no": "none"}
    own = {"m": "his", "f": "her", "n": ""}[noun.gender]
    return Phrase(
        en=english_np(english or det, adjectives, noun, plural),
        person="3p" if plural else "3s",
        kind="indefinite" if number else kinds.get(det, "definite"),
        own="their" if plural else own,
        **cases,
    )
