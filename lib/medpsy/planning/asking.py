"""Responses that a section asks for, counted once: answers, replies, what a parser reads and what judges decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medpsy.planning.costs import Lengths
from medpsy.planning.sizes import size
from medpsy.study import Study

DOCUMENTS = "documents"  # of lm-evaluation-harness
HARD, MAIN = "healthbench_hard", "healthbench"  # the first is a part of the second


@dataclass(frozen=True)
class Variant:
    """A GGUF file of a model, whose responses are its own; `share` is its size against bfloat16."""

    name: str
    share: float


@dataclass(frozen=True)
class Asked:
    """Requests to one model.

    Args:
        read, written: tokens of one request and of its response.
        what: ``"answers"``, ``"readings"``, ``"replies"``, ``"verdicts"``, ``"attempts"``, ``"rows"``, ``"calls"`` or
            `DOCUMENTS`: where of these nothing is written, the likeliest letter is read off.
        served: size of the file that is served against bfloat16, where it is a GGUF file; 0 where it is the model.
        kept: what a server knows it as; the model's name by default.
        slots: requests at a time; those of the server by default.
    """

    model: str
    requests: float
    read: float
    written: float
    what: str
    served: float = 0.0
    kept: str = ""
    slots: int = 0

    @property
    def tokens(self) -> float:
        """Tokens written in all."""
        return self.requests * self.written


@dataclass
class Tally:
    """Counts what is asked, section after section, and knows what is stored by then.

    Args:
        sizes: suite -> its questions or conversations.
        stored: what is there -> how many responses.
        drawn: responses that sections have looked at so far, stored before or not.
    """

    study: Study
    lengths: Lengths
    sizes: dict[str, int]
    stored: dict[tuple[str, ...], float] = field(default_factory=dict)
    drawn: float = 0.0

    def ask(
        self, models: Sequence[str], *, runs: int = 0, most: int | None = None, variant: Variant | None = None
    ) -> list[Asked]:
        """Return the answers of `models` to the study's suites that are not stored, and their reading.

        Args:
            runs: 0 means as the study says.
            most: questions of a suite; 0 means all, None as the study says.
            variant: the file that is asked instead of the one model.
        """
        most = self.study.questions_per_suite if most is None else most
        samples = {suite: self._sample(suite, most) for suite in self.study.suites}
        found, fresh, file = [], 0.0, _file(variant)
        for name in dict.fromkeys(models):
            new = sum(self._new(("answers", file[1] or name, one), asked, runs) for one, asked in samples.items())
            found.append(Asked(name, new, self.lengths.question, self.written(name), "answers", *file))
            fresh += new
        read, written = self.lengths.reading
        found.append(Asked(self.study.parser, fresh * self.lengths.unread, read, written, "readings"))
        return [one for one in found if one.requests]

    def talk(
        self,
        models: Sequence[str],
        suites: Sequence[str] | None = None,
        judges: Sequence[str] | None = None,
        *,
        runs: int = 0,
        most: int | None = None,
        variant: Variant | None = None,
    ) -> list[Asked]:
        """Return the replies of `models` that are not stored, and the verdicts of `judges`; arguments as of `ask`."""
        most = self.study.conversations_per_suite if most is None else most
        suites, judges = suites or self.study.open_suites, self.study.judges if judges is None else judges
        samples = {suite: self._apart(suite, suites, self._sample(suite, most), most) for suite in suites}
        found, verdicts, file = [], dict.fromkeys(judges, 0.0), _file(variant)
        for name in dict.fromkeys(models):
            own = file[1] or name
            new = sum(self._new(("replies", own, one), asked, runs) for one, asked in samples.items())
            written = self.written(name) * self.lengths.reply
            found.append(Asked(name, new, self.lengths.conversation, written, "replies", *file))
            for judge in judges:
                judged = (self._new(("verdicts", judge, own, one), asked, runs) for one, asked in samples.items())
                verdicts[judge] += sum(judged)
        each = self.lengths.criteria * self.lengths.unjudged
        read, written = self.lengths.verdict
        found += [Asked(judge, each * new, read, written, "verdicts") for judge, new in verdicts.items()]
        return [one for one in found if one.requests]

    def written(self, name: str) -> float:
        """Return the tokens of an average answer of the model called `name`."""
        return size(self.study, name).written or self.lengths.written

    def _sample(self, suite: str, most: int) -> float:
        return min(self.sizes[suite], most or self.sizes[suite])

    def _apart(self, suite: str, suites: Sequence[str], asked: float, most: int) -> float:
        """Return how many of `asked` conversations of `suite` are not asked for the suite that it is part of."""
        if suite != HARD or MAIN not in suites:
            return asked
        return asked * (1 - self._sample(MAIN, most) / self.sizes[MAIN])

    def _new(self, key: tuple[str, ...], asked: float, runs: int) -> float:
        """Return how many responses are not stored yet, and count them as stored."""
        wanted, before = asked * (runs or self.study.runs), self.stored.get(key, 0.0)
        self.stored[key] = max(wanted, before)
        self.drawn += wanted
        return max(0.0, wanted - before)


def _file(variant: Variant | None) -> tuple[float, str]:
    """Return `Asked.served` and `Asked.kept` of `variant`."""
    return (variant.share, variant.name) if variant else (0.0, "")
