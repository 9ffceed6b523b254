"""Connecting to a broker that falters: what cannot even be closed is tried again all the same."""

from common import bus


class FalteringBroker:
    """Breaks its first start, and then cannot stop either."""

    def __init__(self):
        self.starts = 0

    async def connect(self):
        return self

    async def declare_queue(self, _):
        return None

    async def start(self):
        self.starts += 1
        if self.starts == 1:
            raise ConnectionError("Channel closed by RPC timeout")

    async def stop(self):
        raise ExceptionGroup("Failed to stop subscribers", [RuntimeError("Channel closed by RPC timeout")])


async def test_a_broker_that_can_neither_start_nor_stop_is_tried_again():
    broker = FalteringBroker()

    await bus.connect(broker)

    assert broker.starts == 2
