"""Profiles: what a provider promises on the wire, as data.

Law: nothing here is code of a profile. A profile is a file; `extends` names the one whose values
count where it says nothing.
"""

from levada.profiles.files import load as load
from levada.profiles.files import make as make
from levada.profiles.files import names as names
from levada.profiles.schema import Profile as Profile
from levada.profiles.schema import ProfileError as ProfileError
from levada.profiles.validate import Problem as Problem
from levada.profiles.validate import validate as validate
