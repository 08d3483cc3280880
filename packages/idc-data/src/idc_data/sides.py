"""Detects captions that mirroring an image makes wrong: those that mention left and right, east and west, or rotation.

The words are stems, written by hand; a test checks that those for left and right match the names of arrows in Unicode
CLDR. A caption is also refused if the stem has another meaning (French "droit" also means law): refusing a harmless
caption costs only a setting, but mirroring a caption that mentions a side spoils the model.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from unicodedata import name, normalize

# Language -> stems that begin a word, and common words that identify the language.
_LATIN = {
    "English": (
        r"left|right|(?:north|south)?[- ]?(?:east|west)|(?:anti|counter)?-?clockwise",
        "the a an is are was were has have had been of in on at to and with no not nothing there now it its from some "
        "moved removed added changed gone new same appeared disappeared missing more one two three",
    ),
    "Italian": (
        r"sinistr|destr[aoie]\b|orient|occident|ovest|(?:ad |a |verso |ll'|l'|nord-?|sud-?)est\b|(?:anti)?orari[oa]\b",
        "il lo la gli le un una uno di del della dello dell è sono non nessun nessuna stato stata nel nella con che si",
    ),
    "French": (
        r"gauche|droit|ouest|orient|occident|(?:l'|d'|vers |nord-?|sud-?)est\b|(?:anti)?horaire",
        "le la les un une des du de est sont pas aucun aucune dans sur avec et été au aux il elle ne rien plus qui",
    ),
    "Spanish": (
        r"izquierd|derech|oeste|orient|occident|(?:al |del |el |hacia |nor|nord|sud|sur)este\b|(?:anti)?horari[oa]\b",
        "el la los las un una unos de del es está están ha han no ningún ninguna nada en con que por",
    ),
    "Portuguese": (
        r"esquerd|direit|leste|oeste|orient|ocident|nordeste|sudeste|(?:anti-?)?horári",
        "os as um uma de do da dos das é está não nenhum nenhuma nada em no na com foi foram que",
    ),
    "Catalan": (r"esquerr|dret|oest|llevant|ponent|(?:l'|nord-?|sud-?)est\b", "el els les un una de del és no cap amb"),
    "Romanian": (
        r"stâng|stang|dreapt|drept|(?:la |de |spre |nord-?|sud-?)est\b|vest\b|răsărit|apus",
        "un este sunt nu din de la în cu și fost",
    ),
    "German": (
        r"link|recht|\w+(?:linke|rechte)|(?:nord|süd)?ost(?:en|s|w|r|f|h|\b)|(?:nord|süd)?(?:östlich|west)|\w*uhrzeigersinn",
        "der die das den dem des ein eine einen ist sind war wurde wurden nicht kein keine nichts im in auf mit und es",
    ),
    "Dutch": (
        r"link|rechts|rechter|(?:noord|zuid)?(?:oost|west)|wijzerzin|klok",
        "de het een zijn werd er niet geen niets op van met en naar nu is verdwenen",
    ),
    "Swedish": (
        r"vänst|höger|högra|(?:nord|syd)?(?:ost|öst|väst)|medurs|moturs",
        "den det en ett är har inte ingen på med och av",
    ),
    "Danish": (r"venstre|højre|(?:nord|syd)?(?:øst|vest)|urets", "den det en et er har ikke ingen på med og af"),
    "Norwegian": (
        r"venstre|høyre|høgre|(?:nord|sør)?(?:øst|aust|vest)|klokk",
        "den det en et ei er har ikke ingen på med og av",
    ),
    "Polish": (
        r"lew|praw|(?:północno-|południowo-)?(?:wsch|zach)|wskazówek",
        "jest są nie się na do został została zostało",
    ),
    "Czech": (
        r"lev|vlev|dolev|nalev|prav|vprav|doprav|naprav|(?:severo|jiho)?(?:východ|západ)|ručič",
        "je jsou není se na byl byla bylo",
    ),
    "Slovak": (
        r"ľav|vľav|doľav|naľav|prav|vprav|doprav|naprav|(?:severo|juho)?(?:východ|západ)|ručič",
        "je sú nie sa na bol bola bolo",
    ),
    "Croatian": (r"lijev|lev|ulijev|desn|udesn|istoč|istok|zapad|kazalj", "je su nije se na bio bila nema"),
    "Hungarian": (r"bal\b|bal[- ]?oldal|balr|jobb|kelet|nyugat|óramutató", "az egy van nincs nem és volt lett el meg"),
    "Finnish": (r"vase[mn]|oike|itä|idä|länsi|länt|länn|myötäpäiv|vastapäiv", "on ei ja oli ovat se ole kuvassa"),
    "Turkish": (r"sol|sağ|doğu|batı|saat yön", "bir ve bu değil yok var ile olan oldu"),
    "Indonesian": (r"kiri|kanan|timur|barat|jarum jam", "yang di ke dari dan tidak ada ini itu telah dengan"),
    "Vietnamese": (r"trái|phải|đông|tây|kim đồng hồ", "một các là có không đã và của trong trên được"),
}
# Script, as in Unicode names of letters -> stems of the languages written in it.
_SCRIPTS = {
    "CYRILLIC": (
        r"(?<!\w)(?:[внс]а?|от|у)?(?:лев|лів|ліво|ляв|лијев|прав|десн|дясн|дяс)|сл[еі]ва|справа|восто[кч]|запад|схід|східн"
        r"|захід|західн|изто[кч]|исто[кч]|часов|годинник"
    ),
    "GREEK": r"αριστερ|δεξι|ανατολ|δυτικ|δύση",
    "HEBREW": r"שמאל|ימין|ימנ|מזרח|מערב|השעון",
    "ARABIC": (
        r"يسار|[أاي]يسر|يسرى|شمال|يمين|[أاي]يمن|يمنى|شرق|غرب|عقارب|چپ|راست|خاور|باختر|ساعتگرد|بائیں|بایاں|دائیں|دایاں"
    ),
    "DEVANAGARI": r"बा[एयईँं]|दा[एयईँं]|दाहिन|पूर्व|पूरब|पश्चिम|वर्त|डाव|उजव",
    "CJK": (
        r"左|右|[东東西](?=[边邊侧側面方部北南へにの]|$)|(?<=[向往朝南北])[东東西]|顺时针|逆时针|順時針|逆時針|時計回り"
    ),
    "HIRAGANA": r"ひだり|みぎ",
    "KATAKANA": r"レフト|ライト",
    "HANGUL": r"왼|좌[측우로상하향]|오른|우[측로상하향]|동쪽|서쪽|동부|서부|시계",
    "THAI": r"ซ้าย|ขวา|ตะวันออก|ตะวันตก|เข็มนาฬิกา",
}
_ORDINARY: dict[str, list[str]] = {}  # word -> languages
for _language, (_, _words) in _LATIN.items():
    for _word in _words.split():
        _ORDINARY.setdefault(_word, []).append(_language)

REMEDY = (
    "turn flip off, since mirroring makes such captions wrong, or set data.flip=safe if you know that none mentions a "
    "side"
)


def unsafe(captions: Iterable[str]) -> str:
    """Return why images with these captions must not be mirrored; empty if they may.

    Captions in Latin letters are checked in the languages of most captions, identified by common words, and in English.
    Other letters are checked in all languages of their script.

    Args:
        captions: The captions of a dataset, or of a part of it.
    """
    texts = list(dict.fromkeys(normalize("NFC", caption).lower().replace("’", "'") for caption in captions))
    scripts = _scripts(texts)
    if unread := sorted(scripts.keys() - {"LATIN", *_SCRIPTS}):
        return f"captions such as {scripts[unread[0]]!r} are in a script whose words for sides are not known"
    languages, share = _languages([text for text in texts if re.search("[a-z]", text)])
    for pattern in (
        *(_stems(language) for language in languages),
        *(_SCRIPTS[each] for each in scripts if each != "LATIN"),
    ):
        for text in texts:
            if side := re.search(pattern, text):
                return f"a caption mentions a side ({side[0].strip()!r}): {text!r}"
    if share < 0.5:
        example = next(text for text in texts if re.search("[a-z]", text))
        return f"captions such as {example!r} are in a language whose words for sides are not known"
    return ""


def _stems(language: str) -> str:
    return rf"(?<!\w)(?:{_LATIN[language][0]})"


def _languages(texts: Sequence[str]) -> tuple[list[str], float]:
    """Return the languages of texts in Latin letters, including English, and the share of texts with a known word."""
    hits = [
        Counter(each for word in re.findall(r"[^\W\d_]+", text) for each in _ORDINARY.get(word, ())) for text in texts
    ]
    total = sum(hits, Counter[str]())
    best = Counter(max(found, key=lambda each: (found[each], total[each])) for found in hits if found)
    most = max(total.values(), default=0)
    kept = [each for each, count in total.items() if 50 * best[each] >= len(texts) or 3 * count >= most]
    return list(dict.fromkeys(("English", *kept))), sum(map(bool, hits)) / len(texts) if texts else 1.0


def _scripts(texts: Iterable[str]) -> dict[str, str]:
    """Return the scripts of the letters of texts, each with the first text that uses it."""
    found: dict[str, str] = {}
    for text in texts:
        for char in set(text) if not text.isascii() else "a":
            if char.isalpha():
                found.setdefault(_script(char), text)
    return found


@cache
def _script(char: str) -> str:
    return name(char, "UNKNOWN").replace("FULLWIDTH ", "").split()[0].split("-")[0]
