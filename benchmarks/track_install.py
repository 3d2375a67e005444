"""Cost of having lstmfast: import time, and size of its wheel."""

import io
import statistics
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

N_PROCESSES = 7
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


class TrackImport:
    """Seconds an import takes in a fresh process: median of several, after one that warms the file cache.

    The import of scikit-learn's base stands beside them as the yardstick.
    """

    param_names = ["statement"]
    params = [["import lstmfast", "from lstmfast import LSTMClassifier", "import sklearn.base"]]
    unit = "s"

    def track_import_time(self, statement):
        command = [sys.executable, "-c", TIMED.format(statement)]
        seconds = [float(subprocess.check_output(command)) for _ in range(1 + N_PROCESSES)]
        return statistics.median(seconds[1:])


class TrackWheel:
    """Bytes of the installed package's files, zipped as a wheel zips them.

    That is the wheel's size without its few kilobytes of metadata, and takes no build: it works the same for a wheel,
    an editable install and a checkout. Extensions that were built for other Pythons are left out.
    """

    unit = "bytes"

    def track_wheel_size(self):
        import lstmfast

        package = Path(lstmfast.__file__).parent
        suffixes = (".py", ".pyi", "py.typed", sysconfig.get_config_var("EXT_SUFFIX"))
        # In a checkout lstmfast.peers lies elsewhere.
        folders = {package, *package.parent.glob("benchmarks/peers")}
        files = [path for folder in folders for path in folder.rglob("*") if path.name.endswith(suffixes)]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
            for path in files:
                wheel.write(path, path.relative_to(package.parent))
        return len(archive.getvalue())
