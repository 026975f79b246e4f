"""Translation: a text in, its translation out, scored with BLEU, chrF and TER.

    {"id": "7", "source": "The dog sleeps.", "target": "Der Hund schläft."}

The prompt names both languages: `data.source_language` and `data.target_language`, or else the
languages that the columns are named after (en, de, translation.fr), or else English and German.
`target` may be a list: the model is trained on the first, and all of them are references.
"""

from llmkit.tasks.base import Task

# ISO 639-1 code -> name of the language in a prompt.
LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic",
    "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh", "km": "Khmer",
    "kn": "Kannada", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian",
    "ml": "Malayalam", "mr": "Marathi", "ms": "Malay", "mt": "Maltese", "my": "Burmese",
    "nb": "Norwegian", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "si": "Sinhala",
    "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish",
    "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
TEMPLATE = "{source_language}: {source}\n{target_language}:"


def language_of(column: str) -> str | None:
    """The language that a column is named after: `fr`, `fr_FR`, `translation.fr`, `French`."""
    name = column.rpartition(".")[2].lower().replace("-", "_")
    by_name = {language.lower(): language for language in LANGUAGES.values()}
    return by_name.get(name) or LANGUAGES.get(name.partition("_")[0])


TASK = Task(
    name="translate",
    inputs=("source",),
    target="target",
    truncatable_input="source",
    template=TEMPLATE.format(
        source_language="English", target_language="German", source="{source}"
    ),
    scores={"bleu": True, "chrf": True, "ter": False},
    metrics=("bleu:auto", "chrf", "ter:auto"),
    has_reference_lists=True,
    baselines={"copy of the source": lambda row: row["source"]},
)
