"""Joint training: the union of the rows, one job, one row of the matrix."""

from datasets import Dataset

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from tests.helpers import battery


def test_one_job_and_only_the_last_row_of_the_matrix():
    method, tasks = methods.load("joint"), ["a", "b", "c"]
    assert method.trained_tasks(tasks) == ["c"]
    assert method.starts_from("c", tasks, None) == []
    assert method.reads_data("c", tasks) == tasks
    cells = [[method.active(step, task, tasks) for task in tasks] for step in range(4)]
    assert cells == [[[]] * 3, [None] * 3, [None] * 3, [["c"]] * 3]


def test_every_row_of_every_task_is_trained_on(tiny):
    data = {task: Dataset.from_list(battery.rows_of(task, 3)) for task in battery.TASKS}
    rows = methods.load("joint").rows(data, battery.job_of(tiny, "places"))
    assert rows["sample_id"][:] == ["s0", "s1", "s2", "s100", "s101", "s102"]


def test_the_last_tasks_exceptions_do_not_hold_for_the_union(tiny_folder, tmp_path):
    """20 rows once, 4 a step: 5 steps. Under the exception they would be 20 x 3 / 2 = 30."""
    settings = battery.config(epochs=1, per_task={"places": {"epochs": 3, "batch_size": 2}})
    data = battery.write_data(tmp_path)
    job = battery.train("joint", "places", tiny_folder, data, tmp_path, settings)
    assert job.summary["rows"] == 20
    assert job.summary["loss"][-1][0] == 5
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    model = job.method.load(backbone, {"places": job.folder})
    assert list(model.peft.peft_config) == ["places"]
