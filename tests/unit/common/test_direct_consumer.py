"""How a consumer tells the broker what was settled: few frames, and never of a message that is not."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from common.direct_consumer import MOST_HELD, _Together


class Channel:
    """Keeps what the broker keeps: an unknown tag is an error that closes the channel."""

    def __init__(self, deliveries):
        self.outstanding = set(range(1, deliveries + 1))
        self.given_again = set()
        self.frames = 0
        self.is_closed = False
        self.is_slow = False

    async def basic_ack(self, tag, *, multiple=False, wait=True):
        if tag not in self.outstanding:
            self.is_closed = True
            raise RuntimeError(f"406: unknown delivery tag {tag}")
        self.frames += 1
        self.outstanding -= {each for each in self.outstanding if each <= tag} if multiple else {tag}
        if self.is_slow:
            await asyncio.sleep(0)

    def nack(self, tag):
        assert tag in self.outstanding
        self.outstanding.remove(tag)
        self.given_again.add(tag)


class Message:
    def __init__(self, channel, tag):
        self.channel, self.delivery_tag = channel, tag

    async def nack(self, *, requeue):
        assert requeue
        self.channel.nack(self.delivery_tag)
        if self.channel.is_slow:
            await asyncio.sleep(0)


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


@given(
    order=st.permutations(range(1, 31)),
    handed_back=st.sets(st.integers(1, 30)),
    pauses=st.sets(st.integers(0, 29)),
    is_slow=st.booleans(),
)
async def test_what_is_settled_is_told_and_nothing_else(order, handed_back, pauses, is_slow):
    channel, answers, settled = Channel(30), _Together("features.live"), set()
    channel.is_slow = is_slow
    for number, tag in enumerate(order):
        if tag in handed_back:
            await answers.hand_back(Message(channel, tag))
        else:
            settled.add(tag)
            await answers.acknowledge(Message(channel, tag))
        if number in pauses:
            await turns()
        unsettled = set(range(1, 31)) - settled - handed_back
        assert unsettled <= channel.outstanding
    await turns(70)

    assert not channel.is_closed
    assert channel.outstanding == set()
    assert channel.given_again == handed_back


async def test_what_is_settled_in_one_turn_takes_one_frame():
    channel, answers = Channel(50), _Together("features.live")
    for tag in range(1, 51):
        await answers.acknowledge(Message(channel, tag))
    await turns()

    assert (channel.outstanding, channel.frames) == (set(), 1)


async def test_one_that_takes_long_holds_up_the_others_only_so_far():
    channel, answers = Channel(MOST_HELD + 3), _Together("features.live")
    for tag in range(2, MOST_HELD + 2):
        await answers.acknowledge(Message(channel, tag))
    await turns()
    assert channel.frames == 0

    await answers.acknowledge(Message(channel, MOST_HELD + 2))
    await turns()
    assert channel.outstanding == {1, MOST_HELD + 3}

    await answers.acknowledge(Message(channel, MOST_HELD + 3))
    await answers.acknowledge(Message(channel, 1))
    await turns()
    assert channel.outstanding == set()


async def test_the_tags_of_another_channel_begin_anew():
    before, after, answers = Channel(5), Channel(5), _Together("features.live")
    await answers.acknowledge(Message(before, 1))
    await turns()
    before.is_closed = True

    await answers.acknowledge(Message(after, 1))
    await answers.acknowledge(Message(before, 2))
    await answers.hand_back(Message(before, 3))
    await turns()

    assert (before.outstanding, after.outstanding) == ({2, 3, 4, 5}, {2, 3, 4, 5})


async def test_a_channel_that_went_first_is_no_failure(capsys):
    class Gone(Channel):
        async def basic_ack(self, tag, *, multiple=False, wait=True):
            raise ConnectionResetError("gone")

    answers = _Together("features.live")
    await answers.acknowledge(Message(Gone(2), 1))
    await turns()

    assert "message requeued" in capsys.readouterr().out


async def test_a_channel_that_goes_while_a_message_is_handed_back_leaves_nothing_to_the_next():
    before, after, answers = Channel(2), Channel(3), _Together("features.live")
    before.is_slow = True
    handing_back = asyncio.create_task(answers.hand_back(Message(before, 1)))
    await asyncio.sleep(0)
    before.is_closed = True
    await answers.acknowledge(Message(after, 2))
    await handing_back
    await turns()

    assert after.outstanding == {1, 2, 3}


async def test_two_that_tell_do_not_overtake_each_other():
    channel, answers = Channel(MOST_HELD + 4), _Together("features.live")
    channel.is_slow = True
    for tag in range(2, MOST_HELD + 3):
        await answers.acknowledge(Message(channel, tag))
    await turns()
    await answers.acknowledge(Message(channel, 1))
    await answers.acknowledge(Message(channel, MOST_HELD + 3))
    await answers.tell()
    await turns(MOST_HELD)

    assert not channel.is_closed
    assert channel.outstanding == {MOST_HELD + 4}
