"""How questions are put: for each kind of fact and form, frames in English and Chinese.

`{s}` is the subject, `{k}` the detail, `{v}` the value, `{c}` the category in plain words. A blank
is written `____`. Each frame leaves exactly one answer open.
"""

from collections.abc import Mapping

CATEGORY_NAMES = {
    "fix": ("fix", "fix"),
    "compute": ("compute", "compute"),
    "pair_style": ("pair style", "对势样式 (pair_style)"),
    "bond_style": ("bond style", "键样式 (bond_style)"),
    "angle_style": ("angle style", "键角样式 (angle_style)"),
    "dihedral_style": ("dihedral style", "二面角样式 (dihedral_style)"),
    "improper_style": ("improper style", "improper 样式"),
    "kspace_style": ("kspace style", "kspace 样式"),
    "dump": ("dump style", "dump 样式"),
    "command": ("command", "命令"),
}

# kind -> form -> language -> frames
Frames = Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]]

FRAMES: Frames = {
    "package": {
        "single_choice": {
            "en": (
                "Which package must LAMMPS be built with to use `{s}`?",
                "To which LAMMPS package does `{s}` belong?",
            ),
            "zh": ("要使用 `{s}`，LAMMPS 必须编译哪个软件包？", "`{s}` 属于 LAMMPS 的哪个软件包？"),
        },
        "fill_blank": {
            "en": ("`{s}` is part of the ____ package of LAMMPS.",),
            "zh": ("`{s}` 属于 LAMMPS 的 ____ 软件包。",),
        },
        "multiple_choice": {
            "en": ("Which of these belong to the {v} package of LAMMPS?",),
            "zh": ("下列哪些属于 LAMMPS 的 {v} 软件包？",),
        },
    },
    "purpose": {
        "single_choice": {"en": ("What does the LAMMPS {c} `{s}` do?",)},
        "reverse_choice": {
            "en": ('Of which LAMMPS {c} does the manual say: "{v}"',),
        },
        "open_qa": {
            "en": (
                "What does `{s}` do in LAMMPS?",
                "What is the LAMMPS {c} `{s}` for?",
            )
        },
    },
    "default": {
        "single_choice": {
            "en": ("What is the default of the keyword `{k}` of `{s}`?",),
            "zh": ("`{s}` 的关键字 `{k}` 的默认值是什么？",),
        },
        "fill_blank": {
            "en": ("If the keyword `{k}` of `{s}` is not given, its value is ____.",),
            "zh": ("`{s}` 的关键字 `{k}` 的默认值是 ____。",),
        },
        "open_qa": {"en": ("Which value does the option `{k}` of `{s}` have by default?",)},
    },
    "keyword": {
        "single_choice": {
            "en": ("Which of these is a keyword of `{s}`?",),
            "zh": ("下列哪一个是 `{s}` 的关键字？",),
        },
        "multiple_choice": {
            "en": ("Which of these are keywords of `{s}`?",),
            "zh": ("下列哪些是 `{s}` 的关键字？",),
        },
    },
    "syntax": {
        "single_choice": {
            "en": ("Which line gives the syntax of `{s}` in the right order?",),
            "zh": ("哪一行给出了 `{s}` 正确的参数顺序？",),
        },
        "fill_blank": {
            "en": ("Which argument is missing in the syntax of `{s}`: `{k}`?",),
            "zh": ("`{s}` 的语法 `{k}` 中缺少的参数是 ____。",),
        },
        "open_qa": {
            "en": ("What is the syntax of `{s}`?", "Which arguments does `{s}` take, in order?"),
            "zh": ("`{s}` 的语法是什么？",),
        },
    },
    "argument": {
        "single_choice": {"en": ("What is the argument `{k}` of `{s}`?",)},
        "fill_blank": {"en": ('The argument of `{s}` that gives "{v}" is named ____.',)},
        "open_qa": {"en": ("What does the argument `{k}` of `{s}` mean?",)},
    },
    "argument_units": {
        "single_choice": {
            "en": ("In which units is the argument `{k}` of `{s}` given?",),
            "zh": ("`{s}` 的参数 `{k}` 用什么单位？",),
        },
        "fill_blank": {"en": ("The argument `{k}` of `{s}` is given in ____ units.",)},
    },
    "output": {
        "single_choice": {
            "en": ("Which kind of data does `{s}` produce?",),
            "zh": ("`{s}` 产生哪种数据？",),
        },
        "fill_blank": {"en": ("`{s}` produces a ____ (global, per-atom or local; scalar, ...).",)},
        "multiple_choice": {
            "en": ("Which of these produce a {v}?",),
            "zh": ("下列哪些产生 {v}？",),
        },
    },
    "restart": {
        "open_qa": {
            "en": ("Does `{s}` write its state to binary restart files?",),
            "zh": ("`{s}` 会把信息写入二进制 restart 文件吗？",),
        },
        "multiple_choice": {
            "en": ("Which of these fixes write information to binary restart files?",),
            "zh": ("下列哪些 fix 会把信息写入二进制 restart 文件？",),
        },
    },
    "minimize": {
        "open_qa": {
            "en": ("Is `{s}` invoked during energy minimization?",),
            "zh": ("能量最小化时会调用 `{s}` 吗？",),
        },
        "multiple_choice": {
            "en": ("Which of these fixes are invoked during energy minimization?",),
            "zh": ("下列哪些 fix 在能量最小化时会被调用？",),
        },
    },
    "accelerated": {
        "multiple_choice": {
            "en": ("Which accelerated variants of `{s}` does the manual list?",),
            "zh": ("手册列出了 `{s}` 的哪些加速版本？",),
        },
    },
    "units": {
        "single_choice": {
            "en": ("In which unit is {k} given with `{s}`?",),
            "zh": ("在 `{s}` 下，{k} 的单位是什么？",),
        },
        "fill_blank": {
            "en": ("With `{s}`, the unit of {k} is ____.",),
            "zh": ("在 `{s}` 下，{k} 的单位是 ____。",),
        },
        "open_qa": {"en": ("What is the unit of {k} in LAMMPS with `{s}`?",)},
    },
    "error": {
        "single_choice": {"en": ('LAMMPS stops with "ERROR: {s}". What does that mean?',)},
        "reverse_choice": {"en": ("Which error message does this explain? {v}",)},
        "open_qa": {
            "en": (
                'LAMMPS stops with "ERROR: {s}". Why?',
                'My LAMMPS script ends with "ERROR: {s}". What is wrong?',
            )
        },
    },
    "warning": {
        "single_choice": {"en": ('LAMMPS prints "WARNING: {s}". What does that mean?',)},
        "open_qa": {"en": ('What does the LAMMPS warning "{s}" mean?',)},
    },
}

DIFFICULTIES = {
    **dict.fromkeys(("package", "units", "purpose", "argument_units"), "easy"),
    **dict.fromkeys(("default", "keyword", "syntax", "argument", "output"), "medium"),
    **dict.fromkeys(("restart", "minimize", "accelerated", "error", "warning"), "hard"),
}

ANSWERS = {  # open answers that need more than the value
    "default": "`{k} = {v}`",
    "syntax": "`{v}`",
}
YES_NO = {  # of kinds of facts that are so or not; English answers give the manual's sentence
    "restart": {
        "yes": "会。它把信息写入二进制 restart 文件。",
        "no": "不会。它不把任何信息写入二进制 restart 文件。",
    },
    "minimize": {"yes": "会。能量最小化时会调用它。", "no": "不会。能量最小化时不调用它。"},
}
EXPLANATIONS = {
    "en": 'The manual, page {page}, {section}: "{quote}"',
    "zh": "手册 {page} 页 {section}：“{quote}”",
}
