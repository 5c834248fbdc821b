"""The engines by the names that `ASH_ENGINE` takes. Importing one takes up to a second."""

from bridge.engine import Engine


def load_engine(name: str) -> Engine:
    """Raises ImportError if the engine's SDK is not installed."""
    match name:
        case "claude-agent":
            from bridge.claude_agent import ClaudeAgent

            return ClaudeAgent()
        case "claude-code":
            from bridge.claude_code import ClaudeCode

            return ClaudeCode()
        case "scripted":
            from bridge.scripted import Scripted

            return Scripted()
    raise ImportError(f'there is no engine "{name}"')
