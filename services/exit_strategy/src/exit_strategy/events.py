"""What the exit worker logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the exit worker."""

    LIFECYCLE_OPENED = (
        "position opened",
        "A position is watched from now on: side, size, entry price and the strategy it belongs to.",
    )
    LIFECYCLE_CLOSED = "position closed", "A watched position is gone; its history stays."
    EXIT_TRIGGERED = (
        "exit triggered",
        "A rule fired and is latched: rule, price, level and profit; the exit follows until it is filled.",
    )
    EXIT_EMITTED = (
        "exit emitted",
        "An exit signal was decided: side, amount, size and generation (above 1: one more of this position).",
    )
    EXIT_HELD = (
        "exit held",
        "A rule fired and its exit can not be sent now because `reason`; logged once per change.",
    )
    EXIT_ALREADY_CLAIMED = (
        "exit already claimed",
        "Somebody else claimed the same exit first; nothing is sent twice.",
    )
    POSITION_VIEW_LATE = (
        "position view late",
        "An exit was filled and the Position Manager still shows the old size; nothing is sold again.",
    )
    POSITION_NOT_READ = (
        "position not read",
        "The Position Manager gave no usable answer (`reason`); what is known goes on being watched.",
    )
    POSITION_NOT_APPLIED = (
        "position not applied",
        "A position of the Position Manager could not be taken in (`reason`); it is tried again.",
    )
    PRICE_NOT_READ = (
        "price not read",
        "No price came for an open position and the Feature Service gave none either (`reason`).",
    )
    PRICE_NOT_EVALUATED = (
        "price not evaluated",
        "A price could not be evaluated (`reason`, mostly no database); the next one makes up for it.",
    )
    POSITION_BLIND = (
        "position blind",
        "An open position had no usable price for EXIT_SILENCE_SECONDS: no price rule can fire.",
    )
    POSITION_SEEN_AGAIN = "position seen again", "A blind position is evaluated again."
    RECONCILED = (
        "positions reconciled",
        "Watched positions were compared with the Position Manager's; what differed was corrected.",
    )
    UPDATE_NOT_USABLE = (
        "position update not usable",
        "A position update failed (`reason`): failed_position_updates keeps it, its symbol was read anew.",
    )
    EXIT_REFUSED_AGAIN = (
        "exit refused again",
        "Several exits of a position in a row were refused or empty: one try per EXIT_COOLDOWN_SECONDS now.",
    )
    PRICE_QUARANTINED = (
        "price quarantined",
        "A price is too far from those before it; it counts once a second one or a read agrees with it.",
    )
    PRICES_DISAGREE = (
        "prices disagree",
        "Two sources show prices of a symbol further apart than is tolerated; the more trusted one counts.",
    )
    DATABASE_LOST = (
        "database lost",
        "The database does not answer: only stops run now, on what was known last, until it is back.",
    )
    DATABASE_BACK = (
        "database back",
        "The database answers again; `stored` exits that were sent without it stand in it now.",
    )
    EXIT_SENT_BLIND = (
        "exit sent without the database",
        "A stop was published on the last known entry; it is stored once the database is back.",
    )
    EXIT_NOT_SENT_BLIND = (
        "exit not sent without the database",
        "A stop is breached, the database is down and the exit can not be sent because `reason`.",
    )
    SPOOL_NOT_WRITTEN = (
        "spool not written",
        "EXIT_SPOOL_PATH cannot take a line (full, not writable): only this process remembers the exit.",
    )
    SPOOL_NOT_READ = (
        "spool not read",
        "EXIT_SPOOL_PATH cannot be read: what an earlier process sent without the database stays unknown.",
    )
    SPOOL_LINE_UNREADABLE = (
        "spool line unreadable",
        "A line of EXIT_SPOOL_PATH is no exit, mostly cut short by a crash; it is left out.",
    )
    RULE_NEVER_FIRES = (
        "rule never fires",
        "A configured exit rule can not fire beside the others: `reason` says which and why.",
    )
