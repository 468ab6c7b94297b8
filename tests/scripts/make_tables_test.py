"""scripts/make_tables.py refuses what nobody could read rightly: two rows of one key, a table on two pages, a stale page."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

kTop = Path(__file__).resolve().parents[2]
kScript = kTop / "scripts" / "make_tables.py"
sys.path.insert(0, str(kScript.parent))  # as Python does for a script

from tables.results import Table


def load_script():
    spec = importlib.util.spec_from_file_location("make_tables", kScript)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_tables"] = module
    spec.loader.exec_module(module)
    return module


class ResultsTest(unittest.TestCase):
    def test_no_result_names_a_folder_of_one_machine(self):
        for file in sorted((kTop / "bench" / "results").glob("*.json")):
            with self.subTest(file=file.name):
                self.assertNotRegex(file.read_text(), r"/(root|home|tmp|work)/")


class TableTest(unittest.TestCase):
    def test_two_rows_of_one_key_are_refused(self):
        table = Table(["size", "precision", "ms"], [["1024", "int8", "82.0"], ["1024", "bf16", "145"], ["1024", "int8", "89.6"]], key=2)
        with self.assertRaises(SystemExit) as refused:
            table.text("step")
        self.assertIn("table step: two rows are 1024 / int8", str(refused.exception))

    def test_rows_that_differ_in_their_key_stand(self):
        table = Table(["size", "ms"], [["768", "46.0"], ["1024", "82.0"]])
        self.assertEqual(table.text("step").splitlines(), ["| size | ms |", "| --- | --- |", "| 768 | 46.0 |", "| 1024 | 82.0 |"])

    def test_a_row_of_too_few_cells_is_refused(self):
        with self.assertRaises(SystemExit):
            Table(["size", "ms"], [["768"]]).text("step")


class PagesTest(unittest.TestCase):
    """On a copy of the repository's pages and results."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for pattern in (*load_script().kPages, "bench/results/*.json", "models/*/vocabulary.json"):
            for page in kTop.glob(pattern):
                copy = self.folder / page.relative_to(kTop)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(page, copy)

    def run_script(self, *arguments):
        done = subprocess.run([sys.executable, kScript, *arguments], cwd=self.folder, capture_output=True, text=True)
        return done.returncode, done.stderr

    def test_a_changed_result_makes_a_page_stale_and_is_written(self):
        file = self.folder / "bench/results/h100_mini_pictures.json"
        data = json.loads(file.read_text())
        data["psnr_db"]["cuda_against_cpu"]["int8"] = 47.04
        file.write_text(json.dumps(data))
        code, message = self.run_script("--check")
        self.assertEqual(code, 1)
        self.assertIn("docs/performance.md", message)
        self.assertEqual(self.run_script()[0], 0)
        self.assertIn("| int8 | 47.0 dB |", (self.folder / "docs/performance.md").read_text())
        self.assertEqual(self.run_script("--check")[0], 0)

    def test_a_table_on_two_pages_is_refused(self):
        page = self.folder / "README.md"
        page.write_text(page.read_text() + "\n<!-- table: attention -->\n<!-- end -->\n")
        code, message = self.run_script("--check")
        self.assertEqual(code, 1)
        self.assertIn("table attention stands in", message)

    def test_the_same_machine_twice_is_refused(self):
        results = self.folder / "bench/results"
        first = next(results.glob("cpu_*.json"))
        shutil.copy(first, results / "cpu_again.json")
        code, message = self.run_script("--check")
        self.assertEqual(code, 1)
        self.assertIn("two rows are", message)


if __name__ == "__main__":
    unittest.main()
