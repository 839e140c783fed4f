# ruff: noqa: RUF001 - letters of other scripts are the subject
from pathlib import Path

import numpy as np
import pytest

from models.language import SCRIPTS, detected, is_served, languages_of

SERVED = ("en",)

ENGLISH = """lol
hahaha
HAHAHAHAHA
lmaooooo
omg
wtf
wtf bro
omg u r so dumb
u r dumb
ur so dumb lol
gg ez
gg wp
gg noob team
ez mid
noob
report mid pls
stfu
stfu noob
kys
k
ok
okok
no
no u
nah
nope
nah fam
bruh
bruhhh
bro
yo
yo wassup
sup
meh
hmm
ugh
yikes
damn son
dude
ikr
idk man
idc
smh
tbh
fml
ffs
brb gtg
ty
thx m8
plz
pls stop
thnx 4 the help
y r u like dis
wut
wat r u doin
wat da hell
gonna b late
dont @ me
he finna act up
she be trippin
dat boi cray
dey be actin up
imma head out
we out here
on god no cap
no cap fr fr
deadass
he bout to snap
y'all trippin
ain't nobody got time
dis nigga trippin
fake news
sad
so sad
so tru
tru dat
me too
same
mood
big yikes
go home
go away
get lost
shut up
shut up idiot
idiot
moron
loser
stupid bot
bad bot
good bot
kill urself
y0u 4re s0 dumb
1d10t
sh1t h3ad
f u c k y o u
fuk u
fck off
f*** you
a$$hole
stoopid basterd
ur an idoit
thier so stuipd
definately agre wiht u
teh best evar
recieve teh mesage
pubg
dota
dota noob team
Nishit
Nishit Patel
Jürgen Klopp
José Mourinho
Angela Merkel
Recep Tayyip Erdogan
Zlatan Ibrahimovic
Xi Jinping
Bolsonaro
Beyoncé
San Francisco
Los Angeles Lakers
Sosnowiec
Real Madrid
@juan_perez
@user
@user @user lol
#MAGA
#JeSuisCharlie
#Brexit #GER
RT @user: lol
😂😂😂
🖕🖕🖕
❤️ u
¯\\_(ツ)_/¯
ಠ_ಠ
( ͡° ͜ʖ ͡°)
(ノಠ益ಠ)ノ
1488
!!!
???
xD
xDDDD
aaaaaaaa
jajaja
asdf
asdfghjkl
zzzzz
mmmmm
wow
wooooow
yaaaas queen
slay
yessss
noooooo
bye bye
bye felicia
hi
hiya
morning all
gn
c u l8r
déjà vu
la la la
sayonara bitch
then he said hasta la vista baby
cest la vie my friend
its like mi casa su casa bro
what a schadenfreude moment
the zeitgeist is changing
my abuela makes the best tamales
i love the word saudade
just ate some döner and baklava
уоu аre stupid
yоu fuсking mоrоn
𝓎ℴ𝓊 𝒶𝓇ℯ 𝒹𝓊𝓂𝒷
YOU ARE WRONG
Police kill three
Trump fires Comey
Obama visits Cuba
Stocks fall sharply
Hillary Clinton email scandal
""".splitlines()

FOREIGN = {
    "de": [
        "Ich habe keine Lust mehr auf diese Politiker und ihre Lügen.",
        "Das ist doch alles nicht wahr, du Idiot",
    ],
    "fr": [
        "Je ne comprends pas pourquoi tout le monde est en colère.",
        "vous êtes tous des menteurs et des voleurs",
    ],
    "es": ["No me gusta nada lo que está haciendo este gobierno.", "que tengas un buen día con tu familia"],
    "pt": [
        "Não acredito que você fez isso com a sua própria irmã.",
        "esse cara é um idiota e não sabe o que fala",
    ],
    "it": [
        "Non capisco perché nessuno dice la verità in questo paese.",
        "sei proprio uno stupido e non capisci niente",
    ],
    "nl": [
        "Ik vind het echt niet normaal wat hier allemaal gebeurt.",
        "hij heeft gisteren een nieuwe fiets gekocht",
    ],
    "sv": [
        "Jag förstår inte varför ingen säger sanningen längre.",
        "vi ska åka till stugan med barnen i helgen",
    ],
    "pl": ["Nie rozumiem, dlaczego nikt już nie mówi prawdy.", "jutro jedziemy do babci na obiad"],
    "tr": ["Bu ülkede kimse artık doğruyu söylemiyor.", "yarın sabah annemle pazara gideceğiz"],
    "fi": ["En ymmärrä, miksi kukaan ei enää puhu totta.", "huomenna menemme mökille lasten kanssa"],
    "hu": ["Nem értem, miért nem mond már senki igazat.", "holnap a gyerekekkel megyünk a nagymamához"],
    "cs": ["Nechápu, proč už nikdo neříká pravdu.", "zítra pojedeme s dětmi k babičce na oběd"],
    "ro": ["Nu înțeleg de ce nimeni nu mai spune adevărul.", "mâine mergem cu copiii la bunica acasă"],
    "vi": ["Tôi không hiểu tại sao không ai nói sự thật nữa."],
    "ru": ["Я не понимаю, почему никто не говорит правду.", "привет"],
    "el": ["Δεν καταλαβαίνω γιατί κανείς δεν λέει την αλήθεια."],
    "he": ["אני לא מבין למה אף אחד לא אומר את האמת."],
    "ar": ["لا أفهم لماذا لا يقول أحد الحقيقة.", "أنت غبي"],
    "hi": ["मुझे समझ नहीं आता कि कोई सच क्यों नहीं बोलता।"],
    "zh": ["我不明白为什么没有人说真话。", "你好", "我买了一个新的 iPhone，很喜欢"],
    "ja": ["どうして誰も本当のことを言わないのか分かりません。", "新しいiPhoneを買いました"],
    "ko": ["왜 아무도 진실을 말하지 않는지 모르겠어요."],
    "th": ["ฉันไม่เข้าใจว่าทำไมไม่มีใครพูดความจริง"],
    "ta": ["யாரும் உண்மையைச் சொல்வதில்லை"],
}
CASES = [(code, text) for code, texts in FOREIGN.items() for text in texts]


@pytest.mark.parametrize("text", ENGLISH)
def test_short_or_misspelt_english_and_what_has_no_language_is_served(text: str) -> None:
    assert is_served([detected(text, SERVED)], SERVED).all()


@pytest.mark.parametrize(("code", "text"), CASES)
def test_a_sentence_in_another_language_is_recognised_as_that_language(code: str, text: str) -> None:
    assert detected(text, SERVED) == code


@pytest.mark.parametrize(("code", "text"), CASES)
def test_a_sentence_is_served_where_its_language_is(code: str, text: str) -> None:
    served = ("en", code)
    assert is_served([detected(text, served)], served).all()


def test_english_is_foreign_where_only_german_is_served() -> None:
    assert detected("They said that you would never get away with this.", ("de",)) == "en"


@pytest.mark.parametrize("text", ["ты дурак", "ти дурень", "glupi jesteś jak but", "мало"])
def test_a_few_words_of_an_uncertain_language_are_not_served(text: str) -> None:
    assert not is_served([detected(text, SERVED)], SERVED).any()


def test_a_script_of_none_of_the_known_languages_is_undetermined_and_not_served() -> None:
    assert detected("ᎣᏏᏲ ᎣᎦᎵᎢ", SERVED) == "und"


def test_a_served_language_that_the_detector_does_not_know_leaves_texts_undecided() -> None:
    assert detected("Das ist doch alles nicht wahr, du Idiot", ("en", "yo")) is None


def test_a_text_without_letters_has_no_language() -> None:
    assert languages_of(["", "  ", "42!"], [None] * 3, SERVED) == [None, None, None]


def test_a_stated_language_wins_by_its_primary_subtag() -> None:
    german, english = "Ich habe keine Lust mehr auf diese Leute.", "They said that you would come."
    stated = ["en-GB", "EN_us", "de-AT", "zh-Hant-TW", "tr"]
    found = languages_of([german, german, english, english, english], stated, SERVED)
    assert found == ["en", "en", "de", "zh", "tr"]
    assert is_served(found, SERVED).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("tag", [None, "", "und", "mul", "zxx", "und-Latn", "german", "?"])
def test_a_tag_that_names_no_language_counts_as_not_stated(tag: str | None) -> None:
    assert languages_of(["Ich habe keine Lust mehr auf diese Leute."], [tag], SERVED) == ["de"]


def test_languages_stated_for_another_number_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="stated: expected 2 languages, one per text, got 1"):
        languages_of(["a", "b"], ["en"], SERVED)


def test_no_texts_are_no_languages() -> None:
    assert is_served(languages_of([], [], SERVED), SERVED).shape == (0,)


def test_every_language_stands_in_one_script_only() -> None:
    codes = [code for listed in SCRIPTS.values() for code in listed]
    assert len(codes) == len(set(codes))


TOXICITY = Path(__file__).parents[2] / "shared" / "data" / "toxicity"


@pytest.mark.parametrize(
    ("name", "language", "least", "most"),
    [("davidson", "en", 0.0, 0.005), ("conda", "en", 0.0, 0.01), ("germeval2021_toxic", "de", 0.95, 1.0)],
)
def test_real_posts_are_seldom_misjudged(name: str, language: str, least: float, most: float) -> None:
    path = TOXICITY / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand")
    import pyarrow.parquet as pq

    texts = [text for text in pq.read_table(path, columns=["text"])["text"].to_pylist() if text.strip()]
    long = [text for text in texts if language == "en" or len(text.split()) > 8][:1000]
    foreign = ~is_served(languages_of(long, [None] * len(long), SERVED), SERVED)
    assert least <= np.mean(foreign) <= most
