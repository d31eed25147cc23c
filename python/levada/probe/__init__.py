"""Whether a server keeps a profile's promises: asked over the wire, and told promise by promise.

Law: the probe knows a server by its URL only. What it asks follows from the profile's data; what no
data says stands in `numbered.py`, by the ids of the contract.
"""

from levada.probe.client import Client as Client
from levada.probe.client import SilenceError as SilenceError
from levada.probe.run import probe as probe
