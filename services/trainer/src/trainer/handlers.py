"""Where announcements of datasets come in: the queue features.dataset.ready."""

from faststream.rabbit import RabbitBroker

from common import topology
from common.bus import Delivery, decoding
from common.messages import DatasetReady
from trainer.builds import Builds


def subscribe(broker: RabbitBroker, builds: Builds) -> None:
    """From the broker's start on, every announced dataset is looked for among the waiting runs."""

    @broker.subscriber(topology.DATASET_READY, decoder=decoding(DatasetReady))
    async def on_dataset_ready(delivery: Delivery[DatasetReady]) -> None:
        await builds.on_ready(delivery.body)
