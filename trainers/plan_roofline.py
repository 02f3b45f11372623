"""What an element-wise fusion takes on a TPU: its bytes over HBM, or its operations.

The compiler's cycles rank the tilings of one fusion. For products they are those of the matrix
unit; elsewhere they price an element, not a byte: a copy of bfloat16 at a third of a v5p's
bandwidth. So what holds no product, or one that is next to nothing, is priced here, by what it has
to move and to compute.
"""

import math
from collections.abc import Sequence

from trainers.plan_hlo import Instruction, Module
from trainers.plan_topology import Chip

# Of a vector unit's four arithmetic units two are taken to be busy: loads, stores and moves between
# lanes come between.
VECTOR_SHARE = 0.5
_SLICES = {"dynamic-slice", "slice", "gather"}
_PRODUCTS = {"convolution", "dot"}
_NO_ARITHMETIC = {
    *_SLICES,
    *_PRODUCTS,
    "parameter",
    "constant",
    "broadcast",
    "bitcast",
    "reshape",
    "tuple",
    "get-tuple-element",
    "dynamic-update-slice",
    "copy",
    "iota",
    "custom-call",
}
_SLOW = {  # of one unit, where others have four
    "exponential",
    "exponential-minus-one",
    "log",
    "log-plus-one",
    "logistic",
    "tanh",
    "rsqrt",
    "sqrt",
    "divide",
    "power",
    "sine",
    "cosine",
}
_REDUCTIONS = {"reduce", "reduce-window"}
_ASIDE = 1 / 8  # of a fusion's cycles: the exchange of halves in `rotate_by_product`


def is_elementwise(module: Module, fusion: Instruction, chip: Chip) -> bool:
    """Tell whether the matrix unit has nothing to do in this fusion, or next to nothing."""
    busy = _product_flops(module, fusion) / chip.peak_flops
    return busy <= _ASIDE * fusion.cycles / chip.clock_hz


def elementwise_seconds(module: Module, fusion: Instruction, chip: Chip) -> float:
    """Return the longest of moving what the fusion reads and writes, and of computing it."""
    moved = _read(module, fusion) + _written(module, fusion)
    operations = sum(_operations(module, part) for part in _parts(module, fusion))
    return max(
        moved / chip.hbm_bandwidth,
        operations / (VECTOR_SHARE * chip.vector_ops),
        _product_flops(module, fusion) / chip.peak_flops,
    )


def _parts(module: Module, fusion: Instruction) -> list[Instruction]:
    """Return the fused instructions, those of fusions within it too; one by itself is its own."""
    if fusion.opcode != "fusion":
        return [fusion]
    return [inner for part in module.run_by(fusion) for inner in _parts(module, part)]


def _read(module: Module, fusion: Instruction) -> float:
    """Return the bytes that a fusion, or an instruction by itself, reads of its operands."""
    bodies = [module.computations.get(name, ()) for name in fusion.called]
    total = 0.0
    for number, name in enumerate(fusion.operand_names):
        operand = module.by_name.get(name)
        whole = float(sum(operand.stored)) if operand else 0.0
        total += sum(_read_of_one(body, number, whole) for body in bodies) if bodies else whole
    return total


def _read_of_one(body: Sequence[Instruction], number: int, whole: float) -> float:
    """Return the bytes read of operand `number`: of one that is only sliced the slices."""
    names = {part.name for part in body if part.opcode == "parameter" and _number(part) == number}
    read = 0.0
    for part in body:
        if not names.intersection(part.operand_names):
            continue
        if part.opcode == "bitcast":
            names.add(part.name)
        elif part.opcode in _SLICES:
            read += part.result_bytes
        elif part.opcode != "dynamic-update-slice" or part.operand_names[0] not in names:
            return whole
    return min(read, whole)


def _number(parameter: Instruction) -> int:
    return int(parameter.operands.partition(")")[0])


def _written(module: Module, fusion: Instruction) -> float:
    """Return the bytes written: of a result that is updated in place the update's."""
    written = float(sum(fusion.stored))
    for name in fusion.called:
        body = {part.name: part for part in module.computations.get(name, ())}
        for part in body.values():
            if part.opcode == "dynamic-update-slice":
                update = body.get(part.operand_names[1])
                if update and part.result_bytes <= written:
                    written -= part.result_bytes - update.result_bytes
    return written


def _product_flops(module: Module, fusion: Instruction) -> float:
    """Return the FLOPs of the products in a fusion, from the shapes of their operands."""
    flops = 0.0
    for part in _parts(module, fusion):
        operands = [module.by_name.get(name) for name in part.operand_names[:2]]
        if part.opcode in _PRODUCTS and len(operands) == 2 and None not in operands:
            left, right = (math.prod(one.shapes[0][1]) for one in operands if one)
            elements = max(1, math.prod(part.shapes[0][1]))
            flops += 2 * elements * math.sqrt(left * right / elements)  # MK KN / MN = K^2
    return flops


def _operations(module: Module, part: Instruction) -> float:
    """Return the vector operations of one fused instruction, in those that have four units."""
    if part.opcode in _NO_ARITHMETIC:
        return 0.0
    counted = module.by_name[part.operand_names[0]] if part.opcode in _REDUCTIONS else part
    elements = max((math.prod(dims) for _, dims in counted.shapes), default=0)
    return elements * (4.0 if part.opcode in _SLOW else 1.0)
