"""scripts/check_floors.py finds includes that go up or round, wherever they are planted."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

kTop = Path(__file__).resolve().parents[2]
kScript = kTop / "scripts" / "check_floors.py"


class FloorsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.tree = Path(cls.folder.name)
        shutil.copytree(kTop / "src", cls.tree / "src", ignore=lambda folder, names: [name for name in names if Path(name).suffix == ".json"])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check(self, **planted):
        """Exit code and messages over this tree with `planted`, {file of src: text put before its own}."""
        before = {}
        for name, text in planted.items():
            file = self.tree / "src" / name
            before[file] = file.read_text()
            file.write_text(text + before[file])
        done = subprocess.run([sys.executable, kScript, self.tree], capture_output=True, text=True)
        for file, text in before.items():
            file.write_text(text)
        return done.returncode, done.stderr.splitlines()

    def planted(self, name, text):
        return self.check(**{name: text})

    def test_this_tree_has_none(self):
        self.assertEqual(self.check(), (0, []))

    def test_an_upward_include_is_named(self):
        code, found = self.planted("core/status.cpp", '#include "pipeline/pipeline.h"\n')
        self.assertEqual((code, found), (1, ["src/core/status.cpp:1: includes pipeline/pipeline.h, and pipeline stands above core"]))

    def test_every_floor_is_kept_from_those_above_it(self):
        floors = [path for path in (kTop / "src").iterdir() if path.is_dir() and path.name != "verify"]
        self.assertGreater(len(floors), 8)
        for floor in floors:
            file = next(floor.glob("*.cpp")).relative_to(kTop / "src")
            code, found = self.planted(str(file), "#include <verify/verify.h>\n")
            self.assertEqual((code, len(found)), (1, 1), found)
            self.assertTrue(found[0].startswith(f"src/{file}:1: includes verify/verify.h"), found)

    def test_a_floor_below_that_is_not_named_is_refused(self):
        code, found = self.planted("io/png.cpp", '#include "text/tokenizer.h"\n')
        self.assertEqual(code, 1)
        self.assertIn("src/io/png.cpp:1: includes text/tokenizer.h, and text stands above io", found)
        code, found = self.planted("verify/verify.cpp", '#include "advice/cost_model.h"\n')
        self.assertEqual(code, 1)
        self.assertIn("src/verify/verify.cpp:1: includes advice/cost_model.h, and verify may not: "
                      "src/CMakeLists.txt names core, io, text, models, pipeline below it", found)

    def test_ways_around_the_folder_are_seen(self):
        code, found = self.planted("core/status.cpp", '#  include "../pipeline/pipeline.h"\n')
        self.assertEqual((code, found), (1, ["src/core/status.cpp:1: includes pipeline/pipeline.h, and pipeline stands above core"]))

    def test_a_circle_of_files_is_shown_whole(self):
        code, found = self.planted("core/dtype.h", '#include "core/tensor.h"\n')
        self.assertEqual(code, 1)
        self.assertIn("files that include each other: src/core/dtype.h -> src/core/tensor.h -> src/core/dtype.h", found)

    def test_a_circle_of_folders_is_shown_whole(self):
        code, found = self.planted("models/model.h", '#include "models/z_image/config.h"\n')
        self.assertEqual(code, 1)
        self.assertTrue(any(line.startswith("headers of folders that include each other: ") for line in found), found)

    def test_below_may_name_neither_what_is_above_nor_what_is_not_needed(self):
        lists = self.tree / "src" / "CMakeLists.txt"
        text = lists.read_text()
        try:
            lists.write_text(text.replace("intaglio_floor(quant BELOW core", "intaglio_floor(quant BELOW core io"))
            self.assertEqual(self.check(), (1, ["src/CMakeLists.txt: quant names io, which does not stand below it",
                                                "src/CMakeLists.txt: quant names io, of which it includes nothing"]))
        finally:
            lists.write_text(text)


if __name__ == "__main__":
    unittest.main()
