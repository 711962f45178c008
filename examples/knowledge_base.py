"""Questions to a knowledge base: ``python examples/knowledge_base.py``.

A small model reads a question and writes a triple, subject, predicate and object, token by token. Beam search along the
prefix tree of all triples makes it write one that is in the knowledge base, of which it has seen a part only;
look-ahead turns it to predicates that share words with the question. With a model of the package transformers, `step`
below is

    def step(prefixes):
        ids = torch.from_numpy(prefixes)
        with torch.no_grad():
            return torch.log_softmax(seq2seq(**question, decoder_input_ids=with_start(ids)).logits[:, -1], -1)

A small one is trained here in its place: it generates predicates by word translation (IBM's model 1) and bigrams, and
copies words from the question. All accuracies are of subjects that it has never seen, in three kinds of questions: in
phrases of the training, in other phrases, and about predicates of which the training had no question.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import kexue as kx

COUNTRY_PREDICATES = ("capital", "currency", "official language", "continent", "calling code", "internet domain")
COUNTRIES = """
Argentina|Buenos Aires|Argentine peso|Spanish|South America|54|ar
Australia|Canberra|Australian dollar|English|Oceania|61|au
Austria|Vienna|euro|German|Europe|43|at
Bangladesh|Dhaka|taka|Bengali|Asia|880|bd
Brazil|Brasilia|real|Portuguese|South America|55|br
Cambodia|Phnom Penh|riel|Khmer|Asia|855|kh
Canada|Ottawa|Canadian dollar|English|North America|1|ca
Chile|Santiago|Chilean peso|Spanish|South America|56|cl
China|Beijing|renminbi|Chinese|Asia|86|cn
Colombia|Bogota|Colombian peso|Spanish|South America|57|co
Costa Rica|San Jose|Costa Rican colon|Spanish|North America|506|cr
Cuba|Havana|Cuban peso|Spanish|North America|53|cu
Czech Republic|Prague|Czech koruna|Czech|Europe|420|cz
Denmark|Copenhagen|Danish krone|Danish|Europe|45|dk
Egypt|Cairo|Egyptian pound|Arabic|Africa|20|eg
Estonia|Tallinn|euro|Estonian|Europe|372|ee
Ethiopia|Addis Ababa|birr|Amharic|Africa|251|et
Fiji|Suva|Fijian dollar|English|Oceania|679|fj
Finland|Helsinki|euro|Finnish|Europe|358|fi
France|Paris|euro|French|Europe|33|fr
Germany|Berlin|euro|German|Europe|49|de
Ghana|Accra|cedi|English|Africa|233|gh
Greece|Athens|euro|Greek|Europe|30|gr
Guatemala|Guatemala City|quetzal|Spanish|North America|502|gt
Hungary|Budapest|forint|Hungarian|Europe|36|hu
Iceland|Reykjavik|Icelandic krona|Icelandic|Europe|354|is
India|New Delhi|Indian rupee|Hindi|Asia|91|in
Indonesia|Jakarta|rupiah|Indonesian|Asia|62|id
Iran|Tehran|rial|Persian|Asia|98|ir
Italy|Rome|euro|Italian|Europe|39|it
Japan|Tokyo|yen|Japanese|Asia|81|jp
Jordan|Amman|Jordanian dinar|Arabic|Asia|962|jo
Kenya|Nairobi|Kenyan shilling|Swahili|Africa|254|ke
Laos|Vientiane|kip|Lao|Asia|856|la
Latvia|Riga|euro|Latvian|Europe|371|lv
Lithuania|Vilnius|euro|Lithuanian|Europe|370|lt
Madagascar|Antananarivo|ariary|Malagasy|Africa|261|mg
Malaysia|Kuala Lumpur|ringgit|Malay|Asia|60|my
Mexico|Mexico City|Mexican peso|Spanish|North America|52|mx
Mongolia|Ulaanbaatar|tugrik|Mongolian|Asia|976|mn
Morocco|Rabat|Moroccan dirham|Arabic|Africa|212|ma
Nepal|Kathmandu|Nepalese rupee|Nepali|Asia|977|np
Netherlands|Amsterdam|euro|Dutch|Europe|31|nl
New Zealand|Wellington|New Zealand dollar|English|Oceania|64|nz
Nigeria|Abuja|naira|English|Africa|234|ng
Norway|Oslo|Norwegian krone|Norwegian|Europe|47|no
Pakistan|Islamabad|Pakistani rupee|Urdu|Asia|92|pk
Paraguay|Asuncion|guarani|Spanish|South America|595|py
Peru|Lima|sol|Spanish|South America|51|pe
Poland|Warsaw|zloty|Polish|Europe|48|pl
Portugal|Lisbon|euro|Portuguese|Europe|351|pt
Romania|Bucharest|Romanian leu|Romanian|Europe|40|ro
Saudi Arabia|Riyadh|riyal|Arabic|Asia|966|sa
Slovakia|Bratislava|euro|Slovak|Europe|421|sk
Slovenia|Ljubljana|euro|Slovene|Europe|386|si
South Korea|Seoul|South Korean won|Korean|Asia|82|kr
Spain|Madrid|euro|Spanish|Europe|34|es
Sweden|Stockholm|Swedish krona|Swedish|Europe|46|se
Thailand|Bangkok|baht|Thai|Asia|66|th
Tunisia|Tunis|Tunisian dinar|Arabic|Africa|216|tn
Ukraine|Kyiv|hryvnia|Ukrainian|Europe|380|ua
United Kingdom|London|pound sterling|English|Europe|44|uk
Uruguay|Montevideo|Uruguayan peso|Spanish|South America|598|uy
Vietnam|Hanoi|dong|Vietnamese|Asia|84|vn
"""
ELEMENTS = """
hydrogen H helium He lithium Li beryllium Be boron B carbon C nitrogen N oxygen O fluorine F neon Ne sodium Na magnesium
Mg aluminium Al silicon Si phosphorus P sulfur S chlorine Cl argon Ar potassium K calcium Ca scandium Sc titanium Ti
vanadium V chromium Cr manganese Mn iron Fe cobalt Co nickel Ni copper Cu zinc Zn gallium Ga germanium Ge arsenic As
selenium Se bromine Br krypton Kr rubidium Rb strontium Sr yttrium Y zirconium Zr
"""

# How each predicate is asked for: in the training, and in other words. The last two are not in the training at all.
PHRASES = {
    "capital": (
        ["What is the capital of * ?", "Which city is the seat of government of * ?", "Name the capital city of * ."],
        ["Could you tell me which city is the capital of * ?", "From which city is * governed ?"],
    ),
    "currency": (
        ["What is the currency of * ?", "What money do people use in * ?", "How do you pay in * ?"],
        ["Which money would I need in * ?", "Tell me the currency of * ."],
    ),
    "official language": (
        ["What is the official language of * ?", "Which language is spoken in * ?", "What do people speak in * ?"],
        ["Which language would I hear in * ?", "In * people speak what ?"],
    ),
    "continent": (
        ["On which continent is * ?", "Where in the world is * ?", "Which continent does * belong to ?"],
        ["Do you know the continent of * ?", "On what continent would I find * ?"],
    ),
    "chemical symbol": (
        ["What is the chemical symbol of * ?", "How do chemists abbreviate * ?", "Which symbol stands for * ?"],
        ["Please give the symbol of * .", "How would chemists abbreviate the name of * ?"],
    ),
    "atomic number": (
        ["What is the atomic number of * ?", "How many protons does * have ?", "How many protons are in * ?"],
        ["Tell me the atomic number of * .", "What number of protons has * ?"],
    ),
    "calling code": ([], ["What is the calling code of * ?", "Which calling code do I dial for * ?"]),
    "internet domain": ([], ["What is the internet domain of * ?", "Under which internet domain is * ?"]),
}

END = "<end>"  # behind each field


class Fact(NamedTuple):
    subject: str
    predicate: str
    object: str

    def words(self) -> list[str]:
        return [word for field in self for word in (*field.split(), END)]


@dataclass(frozen=True)
class Question:
    text: str
    fact: Fact


def knowledge() -> list[Fact]:
    """All facts; those of every third country and element are not in the training."""
    facts = []
    for line in COUNTRIES.strip().splitlines():
        subject, *objects = line.split("|")
        facts += [Fact(subject, *pair) for pair in zip(COUNTRY_PREDICATES, objects, strict=True)]
    names = ELEMENTS.split()
    for number, (name, symbol) in enumerate(zip(names[::2], names[1::2], strict=True), 1):
        facts += [Fact(name, "chemical symbol", symbol), Fact(name, "atomic number", str(number))]
    return facts


def questions(facts: list[Fact], kind: int) -> list[Question]:
    return [
        Question(phrase.replace("*", fact.subject), fact) for fact in facts for phrase in PHRASES[fact.predicate][kind]
    ]


# ---- a small model ----


class CopyingModel:
    """Probabilities of the next word of a fact, given the question."""

    def __init__(self, words: list[str], training: list[Question]) -> None:
        self.words = words
        self.ids = {word: i for i, word in enumerate(words)}
        # Per field: words that follow each other; where copies start, by the word before; how much is copied
        self.bigrams: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in range(3)]
        self.starts: list[Counter[str]] = [Counter() for _ in range(3)]
        self.seen: Counter[str] = Counter()
        copied, written = np.ones(3), np.full(3, 2.0)
        lengths = 0
        for question in training:
            asked = ["", *question.text.split()]
            self.seen.update(asked)
            for field, text in enumerate(question.fact):
                target = text.split()
                for before, word in zip(["", *target], [*target, END], strict=True):
                    self.bigrams[field][before][word] += 1
                first = next((i for i in range(len(asked)) if asked[i : i + len(target)] == target), None)
                copied[field] += first is not None
                written[field] += 1
                if first is not None:
                    self.starts[field][asked[first - 1]] += 1
            lengths += len(question.fact.subject.split())
        self.copied = copied / written
        self.ending = len(training) / lengths
        self.translations = translate([(q.text.split(), q.fact.predicate.split()) for q in training])

    def __call__(self, question: str, prefix: list[str]) -> np.ndarray:
        """Of every word, summing to 1."""
        asked = ["", *question.split()]
        field = min(prefix.count(END), 2)
        written = prefix[len(prefix) - prefix[::-1].index(END) :] if END in prefix else prefix
        generated = self.generate(field, written, asked)
        copy = np.zeros(len(self.words))
        for i in range(1, len(asked)):
            word, before = asked[i], asked[i - len(written) : i]
            if word in self.ids and before == written:
                weight = 1 - self.ending
                if not written:
                    weight = (self.starts[field][asked[i - 1]] + 0.1) / (self.seen[asked[i - 1]] + 1)
                copy[self.ids[word]] += weight
        if written:
            copy[self.ids[END]] += self.ending
        share = self.copied[field] if copy.any() else 0.0
        total = share * copy / max(copy.sum(), 1e-300) + (1 - share) * generated
        return 0.999 * total + 0.001 / len(self.words)

    def generate(self, field: int, written: list[str], asked: list[str]) -> np.ndarray:
        follow = self.bigrams[field][written[-1] if written else ""]
        result = np.full(len(self.words), 1e-3 / len(self.words))
        for word, count in follow.items():
            result[self.ids[word]] += count
            if field == 1 and word != END:
                result[self.ids[word]] *= sum(self.translations[source].get(word, 1e-4) for source in asked) / len(
                    asked
                )
        return result / result.sum()


def translate(pairs: list[tuple[list[str], list[str]]]) -> dict[str, dict[str, float]]:
    """Probabilities of the words that a word stands for, by expectation maximisation."""
    targets = {word for _, target in pairs for word in target}
    chances: dict[str, dict[str, float]] = defaultdict(dict)
    for source, target in pairs:
        for word in ("", *source):
            chances[word].update((other, 1 / len(targets)) for other in target)
    for _ in range(10):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for source, target in pairs:
            for word in target:
                weights = {other: chances[other][word] for other in ("", *source)}
                total = sum(weights.values())
                for other, weight in weights.items():
                    counts[other][word] += weight / total
        for other, words in counts.items():
            total = sum(words.values())
            chances[other] = {word: count / total for word, count in words.items()}
    return chances


# ---- answers ----


class KnowledgeBase:
    def __init__(self, facts: list[Fact], training: list[Question]) -> None:
        self.facts = facts
        asked = (word for phrases in PHRASES.values() for kind in phrases for text in kind for word in text.split())
        words = list(dict.fromkeys([END, *(word for fact in facts for word in fact.words()), *asked]))
        self.model = CopyingModel(words, training)
        self.ids = self.model.ids
        self.tree = kx.PrefixTree([[self.ids[word] for word in fact.words()] for fact in facts])

    def answer(self, question: str, *, tree: bool = True, lookahead: bool = True) -> Fact | None:
        """The fact that answers a question; without the tree perhaps none."""

        def step(prefixes: np.ndarray) -> np.ndarray:
            texts = [[self.model.words[token] for token in prefix] for prefix in prefixes]
            return np.log([self.model(question, text) for text in texts])

        # Of each field by itself: in English the predicate may come before the subject.
        query = [self.ids.get(word, len(self.ids)) for word in question.split()]
        options = {"lookahead": query, "lookahead_from": 1, "lookahead_scope": "field"} if lookahead and tree else {}
        found = kx.constrained_beam_search(
            step, self.tree if tree else None, end_token=self.ids[END], min_ends=3, max_length=16, **options
        )
        if not found:
            return None
        if tree:
            return self.facts[found[0].place]
        fields = " ".join(self.model.words[token] for token in found[0].tokens).split(END)
        return Fact(*(field.strip() for field in fields[:3]))


WAYS = {
    "no tree": {"tree": False, "lookahead": False},
    "tree": {"lookahead": False},
    "tree, look-ahead": {},
}


def build() -> tuple[KnowledgeBase, dict[str, list[Question]]]:
    """The knowledge base, and three kinds of questions about subjects that are new to its model."""
    facts = knowledge()
    subjects = list(dict.fromkeys(fact.subject for fact in facts))
    held_out = set(subjects[::3])
    base = KnowledgeBase(facts, questions([fact for fact in facts if fact.subject not in held_out], 0))
    unseen = [fact for fact in facts if fact.subject in held_out]
    trained = [fact for fact in unseen if PHRASES[fact.predicate][0]]
    return base, {
        "phrases of the training": questions(trained, 0),
        "other phrases": questions(trained, 1),
        "other predicates": questions([fact for fact in unseen if not PHRASES[fact.predicate][0]], 1),
    }


def measure(base: KnowledgeBase, kinds: dict[str, list[Question]]) -> dict[str, dict[str, float]]:
    """The share of right answers, subject and predicate included, of each kind of questions in each way."""
    return {
        kind: {
            way: sum(base.answer(question.text, **options) == question.fact for question in asked) / len(asked)
            for way, options in WAYS.items()
        }
        for kind, asked in kinds.items()
    }


if __name__ == "__main__":
    base, kinds = build()
    print(f"{len(base.facts)} facts, {base.tree.n_nodes} nodes")
    for asked in kinds.values():
        for question in asked[5::40][:3]:
            fact = base.answer(question.text)
            print(f"  {question.text:55} {fact.subject}, {fact.predicate}: {fact.object}")
    print(f"{'':24} questions" + "".join(f"{way:>18}" for way in WAYS))
    for kind, accuracies in measure(base, kinds).items():
        print(f"{kind:24} {len(kinds[kind]):9}" + "".join(f"{accuracy:18.3f}" for accuracy in accuracies.values()))
