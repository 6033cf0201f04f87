"""Status of a claim, and the thresholds that several rules share.

A status follows from numbers in result files by the rule of the claim. Only measurements, or drafts trained here,
reproduce a claim. Where only printed points exist, a refit of them agrees with the claim or does not. A claim whose
numbers only the authors reported is reproduced partly at best.
"""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, one_of

STATUSES = ("reproduced", "refit agrees", "partly", "contradicted", "not checked")
REPRODUCED, REFIT_AGREES, PARTLY, CONTRADICTED, NOT_CHECKED = STATUSES
MEANINGS = {
    REPRODUCED: "measured or trained again here, and it holds by its rule",
    REFIT_AGREES: "only the printed points exist; fitted again, they give the claim",
    PARTLY: "a part of it holds; the finding says which",
    CONTRADICTED: "the evidence says otherwise",
    NOT_CHECKED: "there is nothing to check it with",
}
"""Status -> meaning in words."""

RIVAL_RATIO = 2.0
"""Ratio of leave-one-out errors from which a rival is clearly better, where points are too few for AICc."""
CURVE_ERROR = 0.10
"""Mean error accepted as agreement with a digitised curve. Digitising alone causes an error of 1 to 5 %."""


@dataclass(frozen=True)
class Verdict:
    """Result of a rule.

    Attributes
    ----------
    status : str
        One of `STATUSES`.
    finding : str
        Numbers that led to the status, in words.
    evidence : str
        Evidence level of the numbers.
    files : tuple of str
        Files that show them, relative to the results folder; those in ``paper/published`` relative to the checkout.
    brief : str
        The finding in about a dozen words, for the overview; the finding itself if empty.

    Raises
    ------
    InputError
        If the status is unknown, or a status other than `NOT_CHECKED` lacks evidence or files.
    """

    status: str
    finding: str
    evidence: str = ""
    files: tuple[str, ...] = ()
    brief: str = ""

    def __post_init__(self) -> None:
        """Check the status and its evidence."""
        one_of("status", self.status, STATUSES)
        if self.status != NOT_CHECKED and not (self.files and self.evidence):
            raise fail("status", self.status, "needs evidence and the file that shows it")
