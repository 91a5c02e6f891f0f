"""Kernels by their names: found where they are, refused with a reason."""

import pytest
from kernel_files import KERNELS, mine

from engine.kernel_name import KernelNameError, load_kernel

__all__ = ["mine"]  # A fixture is used by its name alone.


def test_kernels_of_a_class(mine):
    """Dots lead into a module's objects."""
    assert load_kernel(f"{mine}:Group.double") is load_kernel(f"{mine}:double")


def test_a_file_cannot_take_a_modules_name(mine, tmp_path):
    """Workers would import the other one."""
    del mine  # Wanted only because it restores the module search path.
    (tmp_path / "random.py").write_text(KERNELS)
    with pytest.raises(KernelNameError, match="another module is called random"):
        load_kernel(f"{tmp_path / 'random.py'}:double")


def test_a_broken_module_is_one_line(mine):
    """Whatever importing raises is the reason."""
    mine.write_text("def f(:\n")
    with pytest.raises(KernelNameError, match=r"cannot import .*: SyntaxError") as caught:
        load_kernel(f"{mine}:f")
    assert "\n" not in str(caught.value)
