"""What is kept beside a checkpoint of MODPO and must be the same when a run goes on."""

import pytest

from trl_ext.modpo.run_settings import SETTINGS_FILE, refuse_other_settings, save_settings

SETTINGS = {"w": 0.5, "beta": 0.1, "start": "margins", "margins": []}


def test_a_run_goes_on_from_the_start_that_it_had(tmp_path):
    save_settings(tmp_path, SETTINGS)
    refuse_other_settings(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=f"{SETTINGS_FILE}: the run had start = margins, this one has reference"):
        refuse_other_settings(tmp_path, {**SETTINGS, "start": "reference"})


def test_a_checkpoint_that_says_nothing_of_its_start_goes_on_and_one_of_another_weight_does_not(tmp_path):
    save_settings(tmp_path, {name: value for name, value in SETTINGS.items() if name != "start"})
    refuse_other_settings(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"the run had w = 0\.5, this one has 0\.6"):
        refuse_other_settings(tmp_path, {**SETTINGS, "w": 0.6})
