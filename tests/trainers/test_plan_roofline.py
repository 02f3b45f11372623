"""What a TPU's compiler made of small element-wise programs, priced by bytes and operations."""

import jax
import jax.numpy as jnp
import pytest

from mdx.model.rope import rotate_by_product
from trainers.plan_hlo import parse_module
from trainers.plan_project import OPTIMISM, project
from trainers.plan_roofline import VECTOR_SHARE, elementwise_seconds, is_elementwise
from trainers.plan_topology import parse_topology, tpu_devices

TARGET = parse_topology("v5p:2x2x1")
ROWS, WIDTH = 4096, 8192
BYTES = 2 * ROWS * WIDTH


def compiled(function, *shapes, **options):
    """Return the module of `function` over one index and bfloat16 arrays, for one device."""
    place = jax.sharding.SingleDeviceSharding(tpu_devices(TARGET)[0])
    arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in shapes]
    index = jax.ShapeDtypeStruct((), jnp.int32, sharding=place)
    lowered = jax.jit(function, **options).lower(index, *arrays)
    return parse_module(lowered.compile().as_text())


def seconds(module):
    return sum(
        elementwise_seconds(module, instruction, TARGET.chip)
        for instruction in module.computations[module.entry]
        if instruction.opcode == "fusion"
    )


def moved(module):
    return seconds(module) * TARGET.chip.hbm_bandwidth


def test_a_sum_moves_its_operands_and_its_result():
    module = compiled(lambda _, x, y: x * 2 + y, (ROWS, WIDTH), (ROWS, WIDTH))
    assert moved(module) == pytest.approx(3 * BYTES)
    projection = project(module, TARGET)
    assert projection.parts == {"elementwise": pytest.approx(seconds(module) / OPTIMISM)}


def test_of_a_stack_of_layers_one_is_read():
    module = compiled(lambda layer, stack: stack[layer] * 2, (16, ROWS, WIDTH))
    assert moved(module) == pytest.approx(2 * BYTES, rel=0.01)


def test_what_is_updated_in_place_moves_the_update():
    def program(layer, stack, x):
        return jax.lax.dynamic_update_index_in_dim(stack, x * 2, layer, 0)

    module = compiled(program, (16, ROWS, WIDTH), (ROWS, WIDTH), donate_argnums=1)
    assert moved(module) == pytest.approx(2 * BYTES, rel=0.01)


def test_arrays_take_whole_tiles_and_those_in_fast_memory_take_nothing():
    text = """
ENTRY %main (a: bf16[2,4096,32,64]) -> bf16[2,4096,32,64] {
  %a = bf16[2,4096,32,64]{3,1,2,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[2,4096,32,64]{1,3,2,0:T(8,128)(2,1)} copy(%a)
  %c = (f32[4096,3]{0,1:T(8,128)S(1)}, s32[5]{0:T(128)}) custom-call(%b, %a), custom_call_target="x"
}
"""
    module = parse_module(text)
    pairs = 2 * 4096 * 32
    assert module.by_name["a"].stored == (2 * pairs * 128,)  # rows of 64 are stored as 128
    assert module.by_name["b"].stored == (2 * pairs * 64,)
    assert module.by_name["c"].stored == (0, 4 * 128)
    assert module.by_name["c"].operand_names == ("b", "a")


def test_much_arithmetic_takes_the_vector_units_time():
    def program(_, x):
        for _ in range(40):
            x = jnp.tanh(x) * x
        return x

    module = compiled(program, (ROWS, WIDTH))
    units = VECTOR_SHARE * TARGET.chip.vector_ops
    assert seconds(module) > 40 * (4 + 1) * ROWS * WIDTH / units
    assert seconds(module) > 2 * (2 * BYTES / TARGET.chip.hbm_bandwidth)


def test_products_keep_the_compilers_cycles():
    module = compiled(lambda _, x, y: x @ y, (ROWS, WIDTH), (WIDTH, ROWS))
    (product,) = (one for one in module.computations[module.entry] if one.cycles > 1000)
    assert not is_elementwise(module, product, TARGET.chip)
    seconds = product.cycles / TARGET.chip.clock_hz
    assert seconds > 2 * ROWS * WIDTH * ROWS / TARGET.chip.peak_flops
    parts = project(module, TARGET).parts
    assert parts["products"] == pytest.approx(seconds / OPTIMISM, rel=0.05)


def test_a_small_product_on_the_side_makes_no_product_of_a_fusion():
    def turn(_, x, angles):
        return rotate_by_product(x * 2, angles, angles)

    module = compiled(turn, (ROWS, 64, 128), (ROWS, 64))
    assert any(part.opcode == "convolution" for part in module.walk())
    assert "products" not in project(module, TARGET).parts
