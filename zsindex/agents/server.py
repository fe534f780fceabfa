"""The MCP server: tools with their hints, errors that an agent can act on, and the streams of this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from zsindex._version import __version__
from zsindex.agents.tools import Tools
from zsindex.errors import ZsindexError
from zsindex.library import Library

_INSTRUCTIONS = """A photo library whose photos were encoded once by a CLIP-like model. Searches and classifications \
are answered from its cache, in well under a second for 100,000 photos: ask often, compare wordings. Labels are what \
photos show (“owl”), not sentences. Scores of a classification add up to 1 over the labels of that question and mean \
nothing beyond it; scores of a search are cosine similarities, small even for good matches. Photos are named by \
image_id, which stays when files move."""

P = ParamSpec("P")
R = TypeVar("R")


def server(library: Library, *, places: bool = False) -> MCPServer:
    """A server over a library, which it does not close. It offers tools that write where the library can be written.

    Args:
        places: tell where photos were taken.
    """
    made = MCPServer("zsindex", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = Tools(library, places=places)
    for tool in tools.reading:
        made.add_tool(_told(tool), annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    if not library.read_only:
        for tool in tools.writing:
            hints = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
            made.add_tool(_told(tool), annotations=hints)
    return made


def serve(library: Library, *, places: bool = False) -> None:
    """Answer an agent over standard input and output, until the input ends. While it runs, nothing else that is
    printed gets to the output.
    """
    server(library, places=places).run("stdio")


def _told(tool: Callable[P, R]) -> Callable[P, R]:
    """The same tool; what the library refuses is said to the agent in the library's words. Everything else is a bug,
    of which the SDK tells the agent no more than that.
    """

    @wraps(tool)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return tool(*args, **kwargs)
        except (ZsindexError, ValueError) as error:
            raise ToolError(str(error)) from error

    return told
