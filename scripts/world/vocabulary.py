"""English and German words for the bilingual sentences, one compact table per part of speech."""

from __future__ import annotations

from .german import Adjective, Noun, Verb
from .lexicon import lines

# English singular and plural, German singular, gender, plural; "-" means no plural; "weak" nouns
# take -n or -en outside the nominative singular.
NOUN_TABLES = {
    "person": """
        man men Mann m Männer; woman women Frau f Frauen; child children Kind n Kinder
        girl girls Mädchen n Mädchen; boy boys Junge m Jungen weak
        teacher teachers Lehrer m Lehrer; doctor doctors Arzt m Ärzte
        neighbour neighbours Nachbar m Nachbarn weak; baker bakers Bäcker m Bäcker
        farmer farmers Bauer m Bauern weak; cook cooks Koch m Köche; guest guests Gast m Gäste
        singer singers Sänger m Sänger; painter painters Maler m Maler
        driver drivers Fahrer m Fahrer; student students Student m Studenten weak
        tourist tourists Tourist m Touristen weak; seller sellers Verkäufer m Verkäufer
    """,
    "family": """
        mother mothers Mutter f Mütter; father fathers Vater m Väter
        brother brothers Bruder m Brüder
        sister sisters Schwester f Schwestern; uncle uncles Onkel m Onkel
        aunt aunts Tante f Tanten
        grandmother grandmothers Großmutter f Großmütter; son sons Sohn m Söhne
        grandfather grandfathers Großvater m Großväter; daughter daughters Tochter f Töchter
        friend friends Freund m Freunde
    """,
    "pet": """
        dog dogs Hund m Hunde; cat cats Katze f Katzen; bird birds Vogel m Vögel
        rabbit rabbits Kaninchen n Kaninchen; mouse mice Maus f Mäuse; duck ducks Ente f Enten
        hedgehog hedgehogs Igel m Igel; parrot parrots Papagei m Papageien weak
    """,
    "animal": """
        horse horses Pferd n Pferde; cow cows Kuh f Kühe; sheep sheep Schaf n Schafe
        goat goats Ziege f Ziegen; pig pigs Schwein n Schweine; bear bears Bär m Bären weak
        fox foxes Fuchs m Füchse; goose geese Gans f Gänse; donkey donkeys Esel m Esel
    """,
    "food": """
        apple apples Apfel m Äpfel; pear pears Birne f Birnen; egg eggs Ei n Eier
        cake cakes Kuchen m Kuchen; carrot carrots Karotte f Karotten
        tomato tomatoes Tomate f Tomaten
        potato potatoes Kartoffel f Kartoffeln; cherry cherries Kirsche f Kirschen
        sausage sausages Wurst f Würste; biscuit biscuits Keks m Kekse
        onion onions Zwiebel f Zwiebeln
        bread - Brot n -; cheese - Käse m -; butter - Butter f -; honey - Honig m -
        rice - Reis m -; meat - Fleisch n -; jam - Marmelade f -; fruit - Obst n -
    """,
    "drink": """
        tea - Tee m -; coffee - Kaffee m -; milk - Milch f -; water - Wasser n -
        juice - Saft m -; lemonade - Limonade f -; cocoa - Kakao m -
    """,
    "clothes": """
        coat coats Mantel m Mäntel; dress dresses Kleid n Kleider; hat hats Hut m Hüte
        shirt shirts Hemd n Hemden; jacket jackets Jacke f Jacken; skirt skirts Rock m Röcke
        scarf scarves Schal m Schals; jumper jumpers Pullover m Pullover; cap caps Mütze f Mützen
        shoe shoes Schuh m Schuhe; glove gloves Handschuh m Handschuhe
    """,
    "text": """
        book books Buch n Bücher; letter letters Brief m Briefe
        story stories Geschichte f Geschichten
        poem poems Gedicht n Gedichte; newspaper newspapers Zeitung f Zeitungen
        postcard postcards Postkarte f Postkarten
    """,
    "thing": """
        key keys Schlüssel m Schlüssel; bag bags Tasche f Taschen
        suitcase suitcases Koffer m Koffer
        umbrella umbrellas Regenschirm m Regenschirme; lamp lamps Lampe f Lampen
        clock clocks Uhr f Uhren; bottle bottles Flasche f Flaschen; cup cups Tasse f Tassen
        knife knives Messer n Messer; basket baskets Korb m Körbe; camera cameras Kamera f Kameras
        ball balls Ball m Bälle; picture pictures Bild n Bilder; mirror mirrors Spiegel m Spiegel
        candle candles Kerze f Kerzen; blanket blankets Decke f Decken; box boxes Kiste f Kisten
        flower flowers Blume f Blumen; present presents Geschenk n Geschenke
        ticket tickets Fahrkarte f Fahrkarten; plate plates Teller m Teller
    """,
    "furniture": """
        table tables Tisch m Tische; chair chairs Stuhl m Stühle; bed beds Bett n Betten
        sofa sofas Sofa n Sofas; cupboard cupboards Schrank m Schränke; tree trees Baum m Bäume
        bench benches Bank f Bänke; house houses Haus n Häuser; wall walls Wand f Wände
    """,
    "vehicle": """
        bicycle bicycles Fahrrad n Fahrräder; car cars Auto n Autos; boat boats Boot n Boote
        lorry lorries Lastwagen m Lastwagen; tractor tractors Traktor m Traktoren
    """,
    "line": """
        train trains Zug m Züge; bus buses Bus m Busse; ship ships Schiff n Schiffe
        ferry ferries Fähre f Fähren
    """,
    "opening": """
        window windows Fenster n Fenster; door doors Tür f Türen; gate gates Tor n Tore
    """,
    "room": """
        room rooms Zimmer n Zimmer; kitchen kitchens Küche f Küchen; cellar cellars Keller m Keller
        garage garages Garage f Garagen
    """,
    "building": """
        church churches Kirche f Kirchen; school schools Schule f Schulen
        bridge bridges Brücke f Brücken; tower towers Turm m Türme
        castle castles Schloss n Schlösser
        restaurant restaurants Restaurant n Restaurants; hotel hotels Hotel n Hotels
        museum museums Museum n Museen; market markets Markt m Märkte
    """,
    "instrument": """
        piano pianos Klavier n Klaviere; violin violins Geige f Geigen; flute flutes Flöte f Flöten
        guitar guitars Gitarre f Gitarren; trumpet trumpets Trompete f Trompeten
    """,
}

# English, German, stem for endings, English comparative, German comparative ("-" for none).
ADJECTIVE_TABLE = """
    small klein klein smaller kleiner; big groß groß bigger größer; old alt alt older älter
    young jung jung younger jünger; new neu neu newer neuer; beautiful schön schön - -
    red rot rot - -; blue blau blau - -; green grün grün - -; white weiß weiß - -
    black schwarz schwarz - -; yellow gelb gelb - -; brown braun braun - -; grey grau grau - -
    cheap billig billig cheaper billiger; expensive teuer teur - -; long lang lang longer länger
    heavy schwer schwer heavier schwerer; warm warm warm warmer wärmer; cold kalt kalt colder kälter
    fresh frisch frisch - -; short kurz kurz shorter kürzer; friendly freundlich freundlich - -
    tired müde müd - -; strong stark stark stronger stärker; happy glücklich glücklich - -
    sad traurig traurig - -; dark dunkel dunkl darker dunkler; clean sauber sauber - -
    dirty schmutzig schmutzig - -; broken kaputt kaputt - -; empty leer leer - -
    sweet süß süß sweeter süßer; hot heiß heiß - -; hungry hungrig hungrig - -
    fast schnell schnell faster schneller; slow langsam langsam slower langsamer
    loud laut laut louder lauter; clever klug klug - -; nice nett nett - -; wet nass nass - -
    ill krank krank - -; famous berühmt berühmt - -; good gut gut better besser
    angry böse bös - -
"""
FITTING = {
    "person": "old young friendly tired happy sad clever nice hungry famous strong",
    "family": "old young",
    "pet": "small big old young black white brown grey tired hungry wet",
    "animal": "small big old young black white brown grey tired hungry wet",
    "food": "fresh cheap expensive good",
    "drink": "hot cold warm fresh good",
    "clothes": "new old red blue green white black yellow grey dirty cheap expensive beautiful wet",
    "text": "long short old new sad beautiful good",
    "thing": "new old small big red blue green black expensive beautiful",
    "furniture": "old small big beautiful",
    "vehicle": "new old red blue green fast slow broken small big white",
    "line": "fast slow old new",
    "opening": "old small big heavy green broken",
    "room": "small big dark cold dirty clean warm",
    "building": "old new small big beautiful famous",
    "instrument": "old new expensive black small",
}

# English base, third person, past, -ing, particle; German infinitive without the prefix, third
# person, participle, auxiliary, prefix.
VERB_TABLE = """
    buy buys bought buying - kaufen kauft gekauft haben -
    eat eats ate eating - essen isst gegessen haben -
    drink drinks drank drinking - trinken trinkt getrunken haben -
    read reads read reading - lesen liest gelesen haben -
    write writes wrote writing - schreiben schreibt geschrieben haben -
    find finds found finding - finden findet gefunden haben -
    lose loses lost losing - verlieren verliert verloren haben -
    look_for looks_for looked_for looking_for - suchen sucht gesucht haben -
    see sees saw seeing - sehen sieht gesehen haben -
    wear wears wore wearing - tragen trägt getragen haben -
    open opens opened opening - öffnen öffnet geöffnet haben -
    close closes closed closing - machen macht zugemacht haben zu
    pick picks picked picking up holen holt abgeholt haben ab
    call calls called calling - rufen ruft angerufen haben an
    invite invites invited inviting - laden lädt eingeladen haben ein
    bring brings brought bringing along bringen bringt mitgebracht haben mit
    tidy tidies tidied tidying up räumen räumt aufgeräumt haben auf
    put puts put putting on ziehen zieht angezogen haben an
    get_up gets_up got_up getting_up - stehen steht aufgestanden sein auf
    arrive arrives arrived arriving - kommen kommt angekommen sein an
    depart departs departed departing - fahren fährt abgefahren sein ab
    come_back comes_back came_back coming_back - kommen kommt zurückgekommen sein zurück
    travel travels travelled travelling - fahren fährt gefahren sein -
    go goes went going - gehen geht gegangen sein -
    come comes came coming - kommen kommt gekommen sein -
    sleep sleeps slept sleeping - schlafen schläft geschlafen haben -
    lie lies lay lying - liegen liegt gelegen haben -
    sit sits sat sitting - sitzen sitzt gesessen haben -
    stand stands stood standing - stehen steht gestanden haben -
    play plays played playing - spielen spielt gespielt haben -
    work works worked working - arbeiten arbeitet gearbeitet haben -
    wait waits waited waiting - warten wartet gewartet haben -
    swim swims swam swimming - schwimmen schwimmt geschwommen sein -
    dance dances danced dancing - tanzen tanzt getanzt haben -
    sing sings sang singing - singen singt gesungen haben -
    laugh laughs laughed laughing - lachen lacht gelacht haben -
    cook cooks cooked cooking - kochen kocht gekocht haben -
    paint paints painted painting - malen malt gemalt haben -
    repair repairs repaired repairing - reparieren repariert repariert haben -
    sell sells sold selling - verkaufen verkauft verkauft haben -
    wash washes washed washing - waschen wäscht gewaschen haben -
    clean cleans cleaned cleaning - putzen putzt geputzt haben -
    live lives lived living - wohnen wohnt gewohnt haben -
    love loves loved loving - lieben liebt geliebt haben -
    need needs needed needing - brauchen braucht gebraucht haben -
    have has had having - haben hat gehabt haben -
    visit visits visited visiting - besuchen besucht besucht haben -
    forget forgets forgot forgetting - vergessen vergisst vergessen haben -
    give gives gave giving - geben gibt gegeben haben -
    show shows showed showing - zeigen zeigt gezeigt haben -
    send sends sent sending - schicken schickt geschickt haben -
    sell_to sells_to sold_to selling_to - verkaufen verkauft verkauft haben -
    help helps helped helping - helfen hilft geholfen haben -
    thank thanks thanked thanking - danken dankt gedankt haben -
    feed feeds fed feeding - füttern füttert gefüttert haben -
    hear hears heard hearing - hören hört gehört haben -
    stay stays stayed staying - bleiben bleibt geblieben sein -
    know knows knew knowing - kennen kennt gekannt haben -
    rain rains rained raining - regnen regnet geregnet haben -
    snow snows snowed snowing - schneien schneit geschneit haben -
    belong_to belongs_to belonged_to belonging_to - gehören gehört gehört haben -
    study studies studied studying - lernen lernt gelernt haben -
    think thinks thought thinking - glauben glaubt geglaubt haben -
    say says said saying - sagen sagt gesagt haben -
    hope hopes hoped hoping - hoffen hofft gehofft haben -
    collect collects collected collecting - sammeln sammelt gesammelt haben -
"""

# Verbs with a direct object: the kinds of object, and whether the verb has a continuous form.
TRANSITIVE = """
    buy food,drink,clothes,text,thing,vehicle yes
    eat food yes
    drink drink yes
    read text yes
    write text yes
    find thing,pet,clothes no
    lose thing,clothes,text no
    look_for thing,clothes,pet,text yes
    see pet,animal,person,vehicle,building no
    wear clothes yes
    open opening yes
    close opening yes
    pick family,person yes
    call family,person yes
    invite family,person yes
    bring food,drink,thing yes
    tidy room yes
    put clothes yes
    cook food yes
    paint pet,animal,building,furniture yes
    repair vehicle,thing,instrument yes
    sell food,clothes,thing,vehicle,text yes
    wash clothes,vehicle,pet yes
    clean room,opening yes
    love family,pet no
    need thing,clothes,vehicle,instrument no
    have pet,vehicle,thing,clothes,instrument no
    visit family,building yes
    forget thing,clothes,text no
    feed pet,animal yes
    hear pet,animal,person,line no
    know person,building no
    collect text,thing yes
"""
JOBS = """
    teacher Lehrer Lehrerin; baker Bäcker Bäckerin; painter Maler Malerin; driver Fahrer Fahrerin
    singer Sänger Sängerin; doctor Arzt Ärztin; farmer Bauer Bäuerin; cook Koch Köchin
    gardener Gärtner Gärtnerin; tailor Schneider Schneiderin; writer Schriftsteller Schriftstellerin
    judge Richter Richterin; dentist Zahnarzt Zahnärztin; pilot Pilot Pilotin
"""


def entries(table: str) -> list[list[str]]:
    """Split a table into entries (by line or semicolon) and these into words."""
    rows = [part.split() for line in lines(table) for part in line.split(";") if part.strip()]
    return [[("" if word == "-" else word.replace("_", " ")) for word in row] for row in rows]


def build_nouns() -> dict[str, list[Noun]]:
    """All nouns by kind."""
    return {
        kind: [Noun(*row[:5], kind, weak="weak" in row[5:]) for row in entries(table)]
        for kind, table in NOUN_TABLES.items()
    }


NOUNS = build_nouns()
ADJECTIVES = {row[0]: Adjective(*row) for row in entries(ADJECTIVE_TABLE)}
VERBS = {row[0]: Verb(*row) for row in entries(VERB_TABLE)}
OBJECT_KINDS = {row[0]: row[1].split(",") for row in entries(TRANSITIVE)}
CONTINUOUS = [row[0] for row in entries(TRANSITIVE) if row[2] == "yes"]
JOB_WORDS = entries(JOBS)
FITTING_ADJECTIVES = {k: [ADJECTIVES[w] for w in text.split()] for k, text in FITTING.items()}
