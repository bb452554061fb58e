"""How patient a download is."""

from dataclasses import dataclass

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """How files are fetched; the defaults suit a slow line that breaks now and then.

    Args:
        connections: Files fetched at the same time.
        attempts: Tries of one file in a row that bring nothing new before it is given up. A try that brings more
            of the file starts the count again, so a large file may break off any number of times.
        connect_timeout: Seconds to wait for a server to answer at all.
        stall_timeout: Seconds without a byte after which a transfer is begun again.
        backoff: Seconds before the second try, doubled before each further one, up to a minute.
    """

    connections: PositiveInt = 4
    attempts: PositiveInt = 6
    connect_timeout: PositiveFloat = 20.0
    stall_timeout: PositiveFloat = 30.0
    backoff: NonNegativeFloat = 1.0
