"""Small manuals in MDX's own words, good and broken, as files on disk."""

import gzip
import os
from pathlib import Path

import pytest

from mdx.corpus.config import CorpusConfig, SourceConfig

PAGE = """\
.. index:: fix soften

fix soften command
==================

Syntax
\"\"\"\"\"\"

.. code-block:: LAMMPS

   fix ID group-ID soften strength keyword value

* ID, group-ID are documented in :doc:`fix <fix>` command
* strength = how much is taken away\\ :math:`\\alpha` (energy units)

Description
\"\"\"\"\"\"\"\"\"\"\"

Take energy out of the atoms of the group at each step, so that a structure which was built with
overlapping atoms relaxes gently before the production run begins. See :ref:`the other way <other>`
for what happens in a long simulation of a liquid at constant temperature.

.. note::

   The thermostat of the production run should be defined only afterwards.

.. toctree::

   secret_page

.. include:: /etc/hostname

Restrictions
\"\"\"\"\"\"\"\"\"\"\"\"

This fix is part of the GENTLE package.
"""

HTML = """<html><head><title>Water - My Manual</title><script>var hidden = 1;</script></head><body>
<nav><a href="x">Home of everything</a></nav>
<div class="sidebar">Table of contents in the side</div>
<div role="main"><h1>Water models<a class="headerlink" href="#">P</a></h1>
<p>Rigid water keeps the bonds and the angle at their equilibrium values, which allows a time step
of two femtoseconds instead of one, and so halves the cost of a nanosecond of simulation.</p>
<div class="highlight-LAMMPS"><pre>fix 1 all shake 0.0001 20 0 b 1 a 1
run 100</pre></div><ul><li>three sites</li><li>four sites</li></ul></div>
<footer>Copyright of somebody</footer></body></html>"""

SCRIPT = """\
# Copyright (c) 2020 Somebody. All rights reserved.
# Distributed under the GNU General Public License, without any warranty.

units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 3.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
thermo 50
run 250
"""

LOG = """\
LAMMPS (29 Aug 2024)
units lj
atom_style atomic
region box block 0 10 0 10 0 10
create_box 1 box
Created orthogonal box = (0 0 0) to (16.795962 16.795962 16.795962)
  1 by 1 by 1 MPI processor grid
fix walls all wall/reflect zlo EDGE zhi EDGE
thermo 50
run 250
Step Temp E_pair TotEng Press
0 3 -6.7733681 -2.2744931 -3.7033504
50 1.6842865 -4.8082494 -2.2824513 5.5666131
Loop time of 0.0921 on 1 procs for 250 steps with 4000 atoms
Performance: 1172629.2 tau/day, 2714.42 timesteps/s
Neighbor list builds = 12
Total wall time: 0:00:01
"""

PDF_LINES = [
    "The velocity Verlet scheme advances positions and velocities together.",
    "It is time reversible and conserves the energy of a small system well,",
    "as long as the step is a tenth of the fastest period that occurs in it.",
]


def pdf_of(lines):
    """Return a PDF of one page with these lines of text."""
    shown = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
    stream = f"BT /F1 12 Tf 50 700 Td {shown}ET"
    objects = [
        "<</Type /Catalog /Pages 2 0 R>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
        "/Resources <</Font <</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>\nstream\n{stream}\nendstream",
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
    ]
    text, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(text)
    text += f"xref\n0 6\n0000000000 65535 f \n{table}"
    text += f"trailer\n<</Size 6 /Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"
    return text.encode("latin-1")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a file of each kind, and one of each kind of damage."""
    top = tmp_path / "texts"
    (top / "melt").mkdir(parents=True)
    (top / "nothing").mkdir()
    files = {
        "fix_soften.rst": PAGE.encode(),
        "water.html": HTML.encode(),
        "verlet.pdf": pdf_of(PDF_LINES),
        "melt/in.melt": SCRIPT.encode(),
        "melt/in.melt.copy": SCRIPT.encode(),
        "melt/log.melt.1": LOG.encode(),
        "melt/log.melt.4": (
            LOG.replace("0.0921 on 1", "0.0353 on 4").replace("1 by 1 by 1", "1 by 2 by 2")
        ).encode(),
        "broken.txt": b"text\x00\x01\x02" * 50,
        "endless.txt": b"word " * 40_000,
        "latin.txt": "Der Thermostat hält die Temperatur für immer.".encode("latin-1"),
        "scan.pdf": pdf_of([]),
        "half.pdf": b"%PDF-1.4\n1 0 obj\n<</Type",
        "torn.txt.gz": gzip.compress(b"Some words about molecules. " * 500)[:60],
        "empty.md": b"",
        "short.md": b"# Title\n\nTwo words.\n",
    }
    for name, content in files.items():
        (top / name).write_bytes(content)
    os.symlink("circle.rst", top / "circle.rst")
    os.symlink("..", top / "melt" / "up.md")
    os.mkfifo(top / "pipe.txt")
    return top


@pytest.fixture
def config(folder, tmp_path):
    """Return a configuration that reads `folder` with one process."""
    return CorpusConfig(
        out_dir=str(tmp_path / "out"),
        root=str(Path(folder).parent),
        sources=[SourceConfig(name="mine", path="texts", licence="Apache-2.0")],
        num_workers=1,
    )
