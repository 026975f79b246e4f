"""English and German phrases for the bilingual sentences: times, places, numbers and requests."""

from __future__ import annotations

from .lexicon import lines


def pairs(table: str) -> list[tuple[str, str]]:
    """Read a table of "English|German" entries, one per line or separated by semicolons."""
    parts = [part for line in lines(table) for part in line.split(";") if part.strip()]
    return [tuple(side.strip() for side in part.split("|")) for part in parts]  # type: ignore


WEEKDAYS = pairs("""
    Monday|Montag; Tuesday|Dienstag; Wednesday|Mittwoch; Thursday|Donnerstag; Friday|Freitag
    Saturday|Samstag; Sunday|Sonntag
""")
ON_DAYS = [(f"on {en}", f"am {de}") for en, de in WEEKDAYS]
TIME = {
    "present": [(f"every {en}", f"jeden {de}") for en, de in WEEKDAYS]
    + pairs("every day|jeden Tag; every morning|jeden Morgen; every evening|jeden Abend"),
    "continuous": pairs("today|heute; now|jetzt; this evening|heute Abend"),
    "past": ON_DAYS
    + pairs("""
        yesterday|gestern; last week|letzte Woche; last year|letztes Jahr
        this morning|heute Morgen; yesterday evening|gestern Abend; last summer|letzten Sommer
        two days ago|vor zwei Tagen; three weeks ago|vor drei Wochen; in May|im Mai
    """),
    "future": ON_DAYS
    + pairs("""
        tomorrow|morgen; next week|nächste Woche; tomorrow evening|morgen Abend; soon|bald
        next year|nächstes Jahr; in two days|in zwei Tagen
    """),
}
PLACES = pairs("""
    in the garden|im Garten; in the kitchen|in der Küche; at the market|auf dem Markt
    at school|in der Schule; at home|zu Hause; at the station|am Bahnhof; in the park|im Park
    in the city|in der Stadt; in the village|im Dorf; at the lake|am See; at the beach|am Strand
    in the forest|im Wald; in the library|in der Bibliothek; in the museum|im Museum
    in the restaurant|im Restaurant; in the living room|im Wohnzimmer
    on the balcony|auf dem Balkon; in the office|im Büro; in the hotel|im Hotel
    at the river|am Fluss; in the mountains|in den Bergen; in the street|auf der Straße
""")
WATERS = pairs("in the lake|im See; in the river|im Fluss; in the sea|im Meer")
WATERS += pairs("in the swimming pool|im Schwimmbad")
MEADOWS = pairs("in the meadow|auf der Wiese; in the forest|im Wald; at the river|am Fluss")
MEADOWS += pairs("in the garden|im Garten; in the park|im Park; in the street|auf der Straße")
OUTSIDE = [*MEADOWS, *pairs("at the beach|am Strand; at the lake|am See; in the city|in der Stadt")]
SHOPS = pairs("at the market|auf dem Markt; in the city|in der Stadt; at the station|am Bahnhof")
SHOPS += pairs("in the village|im Dorf; in the hotel|im Hotel; at the harbour|am Hafen")
COSY = pairs("in the garden|im Garten; in the kitchen|in der Küche; at home|zu Hause")
COSY += pairs("in the restaurant|im Restaurant; in the living room|im Wohnzimmer")
COSY += pairs("on the balcony|auf dem Balkon; in the park|im Park; in the hotel|im Hotel")
DESKS = pairs("in the library|in der Bibliothek; in the office|im Büro; at school|in der Schule")
DESKS += pairs("at home|zu Hause; in the garden|im Garten; in the museum|im Museum")
# Where something can happen; all other verbs may stand with any place.
VERB_PLACES = {
    "swim": WATERS,
    "play": OUTSIDE,
    "work": DESKS,
    "study": DESKS,
    "buy": SHOPS,
    "sell": SHOPS,
    "eat": COSY,
    "drink": COSY,
    "read": COSY,
    "cook": COSY[:3],
    "sleep": COSY,
    "find": OUTSIDE,
    "lose": OUTSIDE,
    "look for": OUTSIDE,
    "see": OUTSIDE,
    "paint": OUTSIDE,
}
DIRECTIONS = pairs("""
    to the market|zum Markt; to school|zur Schule; home|nach Hause; to the station|zum Bahnhof
    to the park|in den Park; to the city|in die Stadt; to the lake|zum See; to the beach|zum Strand
    to the museum|ins Museum; to the forest|in den Wald; to the library|in die Bibliothek
    to the doctor|zum Arzt; to the cinema|ins Kino; to the harbour|zum Hafen
    to the mountains|in die Berge; to the theatre|ins Theater
""")
TRANSPORT = pairs("""
    by train|mit dem Zug; by bus|mit dem Bus; by car|mit dem Auto; by bike|mit dem Fahrrad
    by ship|mit dem Schiff; by tram|mit der Straßenbahn
""")
HOURS = pairs("""
    at six|um sechs; at seven|um sieben; at eight|um acht; at nine|um neun; at ten|um zehn
    at eleven|um elf; at twelve|um zwölf; at two|um zwei; at three|um drei; at four|um vier
""")
NUMERALS = [
    "two|zwei",
    "three|drei",
    "four|vier",
    "five|fünf",
    "six|sechs",
    "seven|sieben",
    "eight|acht",
    "nine|neun",
    "ten|zehn",
]
AMOUNTS = pairs("""
    five|fünf; ten|zehn; twelve|zwölf; fifteen|fünfzehn; twenty|zwanzig; thirty|dreißig
    forty|vierzig; fifty|fünfzig; sixty|sechzig; eighty|achtzig; a hundred|hundert
""")
# Prepositions of place that take the dative.
STANDING = pairs("under|unter; behind|hinter; in front of|vor; next to|neben; on|auf")
COLOUR_NAMES = pairs("""
    red|Rot; blue|Blau; green|Grün; white|Weiß; black|Schwarz; yellow|Gelb; brown|Braun; grey|Grau
""")
# Weather for conditions; the German half already has the verb at the end.
WEATHER = pairs("""
    it rains|es regnet; it snows|es schneit; the sun shines|die Sonne scheint
    it is cold|es kalt ist; it is too hot|es zu heiß ist; it is warm|es warm ist
""")
# Requests with a gap for the object, and the kinds of object.
IMPERATIVES = [
    ("open {}", "öffne {}", "opening"),
    ("close {}", "mach {} zu", "opening"),
    ("buy {}", "kauf {}", "food,thing"),
    ("bring {} along", "bring {} mit", "thing,drink,food"),
    ("tidy up {}", "räum {} auf", "room"),
    ("put on {}", "zieh {} an", "clothes"),
    ("give me {}", "gib mir {}", "thing,text"),
    ("show me {}", "zeig mir {}", "thing,text"),
    ("repair {}", "reparier {}", "vehicle,instrument"),
    ("look for {}", "such {}", "thing,clothes"),
    ("do not forget {}", "vergiss {} nicht", "clothes,thing"),
]
