"""One namespace for the life of a session, in which Python is Python (1); what was assigned stays assigned (2)."""

from __future__ import annotations

import builtins

from rlm.testing.conformance._bench import Bench, own_process, promise


@promise(1)
async def names_assigned_in_one_cell_are_there_in_the_next(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = 1\n_private = 2\n__very = 3\n_ = 4")
        await repl.show("x += 1")
        assert await repl.value("[x, _private, __very, _]") == [2, 2, 3, 4]


@promise(1)
async def functions_see_globals_that_later_cells_set(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("def total():\n    return sum(numbers) + helper()")
        await repl.show("numbers = [1, 2]")
        await repl.show("def helper():\n    return 10")
        assert await repl.value("total()") == 13
        await repl.show("numbers = [5]")
        assert await repl.value("total()") == 15


@promise(1)
async def functions_set_globals_for_later_cells(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("count = 0\ndef bump():\n    global count, born_inside\n    count += 1\n    born_inside = True")
        await repl.show("bump(); bump()")
        assert await repl.value("[count, born_inside]") == [2, True]


@promise(1)
async def classes_work_and_survive(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            class Base:
                kind = "base"
                doubled = [kind * 2 for _ in range(1)] if False else []
                def __init__(self, n):
                    self.n = n
                    self.__secret = n + 1
                def secret(self):
                    return self.__secret
                @property
                def half(self):
                    return self.n / 2
                @classmethod
                def make(cls):
                    return cls(8)
                @staticmethod
                def two():
                    return 2
            """
        )
        await repl.show("class Child(Base):\n    def __init__(self, n):\n        super().__init__(n * 10)")
        assert await repl.value("[Child(1).n, Child(1).secret(), Child(2).half]") == [10, 11, 10.0]
        assert await repl.value("[Child.make().n, Base.two(), isinstance(Child(1), Base)]") == [80, 2, True]
        assert await repl.value("[Child.__module__, Child.__qualname__]") == ["__main__", "Child"]


@promise(1)
async def dataclasses_enums_and_named_tuples_work_and_survive(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import enum
            from dataclasses import dataclass, field, asdict
            from typing import List, NamedTuple, Optional
            @dataclass(order=True, frozen=True)
            class Point:
                x: int
                y: "int" = 0
                tags: List[str] = field(default_factory=list, compare=False)
                parent: "Optional[Point]" = None
            class Color(enum.Enum):
                RED = 1
            class Row(NamedTuple):
                a: int
                b: str = "b"
            """
        )
        assert await repl.value("asdict(Point(1, tags=['t']))") == {"x": 1, "y": 0, "tags": ["t"], "parent": None}
        assert await repl.value("[Point(1) < Point(2), Color(1).name, Row(1).b]") == [True, "RED", "b"]
        await repl.show("from __future__ import annotations\n@dataclass\nclass Late:\n    items: list[Late]")
        assert await repl.value("len(Late([Late([])]).items)") == 1


@promise(1)
async def closures_decorators_and_generators_survive(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import functools
            def counter():
                n = 0
                def step():
                    nonlocal n
                    n += 1
                    return n
                return step
            def twice(f):
                @functools.wraps(f)
                def inner(*a, **k):
                    return [f(*a, **k), f(*a, **k)]
                return inner
            step = twice(counter())
            def squares():
                i = 0
                while True:
                    yield i * i
                    i += 1
            stream = squares()
            @functools.lru_cache(None)
            def fib(n):
                return n if n < 2 else fib(n - 1) + fib(n - 2)
            """
        )
        assert await repl.value("[next(stream), next(stream), step()]") == [0, 1, [1, 2]]
        assert await repl.value("[next(stream), step(), fib(60)]") == [4, [3, 4], 1548008755920]


@promise(1)
async def comprehensions_see_the_names_of_the_session(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("factor = 3")
        await repl.show("limit = 2\nrows = [[factor * i for i in range(limit)] for _ in range(limit) if factor]")
        await repl.show("table = {k: (lambda: k + factor)() for k in 'ab' for factor in 'cd'}\n(last := 1)")
        assert await repl.value("[rows, table, last]") == [[[0, 3], [0, 3]], {"a": "ad", "b": "bd"}, 1]
        assert await repl.value("[y := 5, [y + factor for _ in 'a'], sum(factor for _ in 'ab')]") == [5, [8], 6]


@promise(1)
async def imports_of_every_form_survive(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import math, os.path as osp\nimport collections.abc\nfrom json import dumps as to_json")
        await repl.show("from itertools import *")
        assert await repl.value("[math.floor(2.5), osp.join('a', 'b'), to_json([1])]") == [2, "a/b", "[1]"]
        assert await repl.value("[list(chain([1], [2])), collections.abc.Sized.__name__]") == [[1, 2], "Sized"]


@promise(1)
async def future_imports_work_and_none_is_forced_on_a_cell(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("def plain(x: int): pass")
        assert await repl.value("plain.__annotations__['x'] is int") is True
        await repl.show("from __future__ import annotations\ndef lazy(x: not_defined_anywhere): pass")
        assert await repl.value("lazy.__annotations__") == {"x": "not_defined_anywhere"}
        await repl.show("'''A docstring first.'''\nfrom __future__ import division, annotations\nok = 1")
        assert await repl.value("ok") == 1


@promise(1)
async def the_module_is_main(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.value("__name__") == "__main__"
        assert await repl.show("def main():\n    print('ran')\nif __name__ == '__main__':\n    main()") == "ran\n"
        assert await repl.value("main.__module__") == "__main__"


@promise(1)
async def globals_eval_and_exec_work_on_the_namespace(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = 2\nexec('y = x + 1')\nglobals()['z'] = eval('x + y')\nname = 'w'\nvars()[name] = 6")
        assert await repl.value("[y, z, w, 'x' in globals(), 'x' in dir(), 'x' in locals()]") == [3, 5, 6] + [True] * 3
        await repl.show("scope = {}\nexec('inner = 1', scope)\ncode = compile('x * 100', 'made', 'eval')")
        assert await repl.value("['inner' in globals(), scope['inner'], eval(code)]") == [False, 1, 200]
        assert await repl.value("(lambda: [k for k in globals() if k == 'x'])()") == ["x"]


@promise(1)
async def a_deleted_name_is_gone(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = 1")
        await repl.show("del x")
        cell = await repl.fails("x", "NameError")
        assert cell.error is not None
        assert "'x'" in cell.error.message


@promise(1)
async def builtins_are_all_there_but_the_interactive_ones(bench: Bench) -> None:
    async with bench.repl() as repl:
        expected = sorted(
            n for n in dir(builtins) if not n.startswith("_") and n not in ("copyright", "credits", "license")
        )
        missing = await repl.value(f"[n for n in {expected!r} if not hasattr(__import__('builtins'), n)]")
        assert not [n for n in expected if n not in missing and (await repl.run(n)).error is not None]
        assert await repl.value("[callable(open), callable(__import__), callable(compile), __debug__]") == [True] * 4


@promise(1)
async def the_interactive_builtins_say_that_they_do_not_work_here(bench: Bench) -> None:
    async with bench.repl() as repl:
        messages = {}
        for name in ("input", "breakpoint", "exit", "quit", "help"):
            cell = await repl.fails(f"kept = 1\n{name}()")
            assert cell.error is not None
            assert name in cell.error.message, f"{name}() should say what does not work: {cell}"
            messages[name] = (cell.error.type, cell.error.message)
            await repl.fails(f"def f():\n    {name}()\nf()", cell.error.type)
        assert len(set(messages.values())) == 5
        await repl.fails("input('Name? ')")
        await repl.fails("exit(1)")
        await repl.still_works("kept", 1)


@promise(1)
async def help_on_an_object_prints_its_documentation(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert "number of items" in await repl.show("help(len)")


@promise(1)
async def a_name_of_a_builtin_may_be_used_for_something_else(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("list = [1, 2]\nprint_ = print\nid = 'a'")
        assert await repl.value("[list, id]") == [[1, 2], "a"]
        await repl.show("del list")
        assert await repl.value("list('ab')") == ["a", "b"]


@promise(1)
async def a_large_cell_and_an_empty_one_run(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("\n".join(f"v{i} = {i}" for i in range(20_000)))
        assert await repl.value("v19999") == 19999
        for nothing in ("", "\n\n", "# only a comment", "pass", "   \n\t\n"):
            assert (await repl.session.execute(nothing, repl.host)).output == ""


@promise(1, applies=own_process)
async def an_instance_of_a_class_of_the_session_can_be_pickled(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import pickle\nclass Thing:\n    n = 1\ndef work(n):\n    return n * n")
        assert await repl.value("pickle.loads(pickle.dumps(Thing())).n + pickle.loads(pickle.dumps(work))(3)") == 10


@promise(2)
async def what_was_assigned_before_an_exception_stays_assigned(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.fails("x = 1\nfor i in range(10):\n    y = i\n    if i == 3: 1 / 0\nz = 5", "ZeroDivisionError")
        assert await repl.value("[x, y, i, 'z' in globals()]") == [1, 3, 3, False]


@promise(2)
async def what_was_assigned_before_an_exception_in_an_awaiting_cell_stays_assigned(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.fails("import asyncio\nx = 1\nawait asyncio.sleep(0)\ny = 2\n{}['missing']\nz = 3", "KeyError")
        assert await repl.value("[x, y, 'z' in globals()]") == [1, 2, False]


@promise(2)
async def a_syntax_error_runs_nothing_and_loses_nothing(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = 1")
        await repl.fails("x = 2\nprint('never'", "SyntaxError")
        assert await repl.value("x") == 1
