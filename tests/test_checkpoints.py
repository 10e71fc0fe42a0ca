"""Which checkpoint a run goes on from: the newest whole one, the one that is named, or none at a first start."""

import logging

import pytest

from trl_ext.checkpoints import newest_checkpoint, resume_folder


def checkpoint(folder, step, text="{}"):
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    if text is not None:
        (place / "trainer_state.json").write_text(text)
    return str(place)


def test_the_newest_whole_checkpoint_counts(tmp_path):
    assert newest_checkpoint(tmp_path) is None and newest_checkpoint(tmp_path / "absent") is None
    checkpoint(tmp_path, 9)
    tenth = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, None)
    checkpoint(tmp_path, 12, '{"global_st')  # cut off by a kill
    assert newest_checkpoint(tmp_path) == tenth == resume_folder("true", tmp_path) == resume_folder(True, tmp_path)


@pytest.mark.parametrize("value", [True, "true", "True"])
def test_a_first_start_begins_afresh_and_says_so(tmp_path, value, caplog):
    with caplog.at_level(logging.WARNING):
        assert resume_folder(value, tmp_path) is None
    assert f"no checkpoint in {tmp_path} yet, a fresh start" in caplog.text


@pytest.mark.parametrize("value", [None, False, "false", "null"])
def test_nothing_is_resumed_unless_asked_for(tmp_path, value):
    checkpoint(tmp_path, 1)
    assert resume_folder(value, tmp_path) is None


def test_a_named_folder_must_be_a_checkpoint(tmp_path):
    first = checkpoint(tmp_path, 1)
    checkpoint(tmp_path, 2)
    assert resume_folder(first, tmp_path) == first
    with pytest.raises(ValueError, match=r"--resume_from_checkpoint .*absent: no trainer_state\.json there"):
        resume_folder(str(tmp_path / "absent"), tmp_path)


def test_an_adapter_that_somebody_put_where_saving_would_remove_it_is_refused(tmp_path):
    from trl_ext.checkpoints import refuse_occupied

    refuse_occupied(tmp_path / "new", ["margin_a"])
    (tmp_path / "margin_a").mkdir()
    refuse_occupied(tmp_path, ["margin_b"])
    with pytest.raises(ValueError, match="margin_a is in the way: saving the policy writes an adapter of that name"):
        refuse_occupied(tmp_path, ["margin_b", "margin_a"])
