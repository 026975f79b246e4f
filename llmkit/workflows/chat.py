"""The `chat` command: answer messages typed in a terminal or read from a pipe."""

from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console

from llmkit.config.generation import Generation
from llmkit.errors import UserError, count_of, did_you_mean, printable
from llmkit.generation.chat_modes import ChatMode, chat_mode_for
from llmkit.generation.engine import Engine
from llmkit.generation.prompts import EncodedPrompt
from llmkit.generation.request import Request
from llmkit.generation.session import GenerationSession
from llmkit.io.row_writer import write_rows
from llmkit.model.packed import generation_dtype, packed_linear_layers
from llmkit.paths import check_output
from llmkit.reports.predictions import print_labels
from llmkit.runtime.console import make_console, print_generated, warning_console, without_controls
from llmkit.runtime.message_reader import Message, MessageReader, is_valid_unicode
from llmkit.runtime.signals import Interrupts
from llmkit.tasks import is_blank

COMMANDS = ("/reset", "/save", "/help", "/quit")
HELP = """\
  /reset      start a new conversation
  /save FILE  save it to FILE (.jsonl, .json, .parquet)
  /help       show this list
  /quit       end the chat (or Ctrl-D)
  Ctrl-C      stop the answer, or discard the input;
              twice at the prompt: end the chat
  \\           at the end of a line: continue the message
  \"\"\"         before and after a message of several lines
  To send a message that starts with /, type a space first."""
SAVED_FORMATS = (".jsonl", ".json", ".parquet")


def chat(session: GenerationSession, system: str | None) -> None:
    """Answer messages from standard input until its end or /quit.

    Raises UserError for decoding settings that cannot be streamed or a system prompt that the task
    does not use; and, at the end of a pipe, if a line was rejected or there was no message.

    system: System prompt; None for none.
    """
    check_decoding(session.generation)
    try:
        mode = chat_mode_for(session, system or "")
    except ValueError as error:
        raise UserError(f"--system: {error}; remove it") from None
    interrupts = Interrupts()
    reader = MessageReader(interrupts)
    introduction = [mode.introduction] if mode.introduction else []
    if reader.is_terminal and session.task.output == "text":
        introduction.append("an empty line continues the last text")
    if reader.is_terminal:
        introduction.append("/help lists commands; Ctrl-D ends the chat")
    for line in introduction:
        note(session.console, line)
    model = session.model
    with (
        session.accelerator.autocast(),
        packed_linear_layers(model, generation_dtype(model), enabled=not session.labels),
        interrupts.handled() if reader.is_terminal else nullcontext(),
    ):
        conversation = Chat(session, mode, interrupts, reader.is_terminal)
        for message in reader:
            if not conversation.take(message):
                break
    if reader.is_terminal:
        return
    if not conversation.num_messages:
        raise UserError("no message on standard input; pipe in one per line")
    if conversation.num_refused:
        raise UserError(f"{count_of(conversation.num_refused, 'line')} rejected; see above")


def check_decoding(generation: Generation) -> None:
    """Raise UserError for decoding settings that cannot be streamed."""
    if generation.num_beams > 1:
        raise UserError(
            f"generation.num_beams is {generation.num_beams}, and beams cannot be streamed; add "
            "--num-beams 1, or use `llmkit generate`"
        )


class Chat:
    """A chat session: runs commands and answers messages. The first Ctrl-C stops an answer, even
    before it begins, and not the program."""

    def __init__(
        self,
        session: GenerationSession,
        mode: ChatMode,
        interrupts: Interrupts,
        is_terminal: bool,
    ) -> None:
        self.session, self.mode, self.is_terminal = session, mode, is_terminal
        self.interrupts = interrupts
        self.generation = session.generation.model_copy(update={"num_return_sequences": 1})
        # One row, so that its slot of the cache keeps the turns so far.
        self.engine = None if session.labels else Engine(session.model, session.tokenizer, 1)
        self.num_messages = self.num_answers = self.num_refused = 0
        self.saved: Path | None = None
        """The file that the current conversation was saved to."""
        self.has_explained_limit = False

    def take(self, message: Message) -> bool:
        """Run a command or answer a message; return whether the chat continues."""
        text = "" if is_blank(message.text) else message.text
        self.num_messages += bool(text)
        if message.is_command:
            return self.run_command(message)
        if not text and not (self.is_terminal and self.can_continue):
            return True
        try:
            if not is_valid_unicode(text):
                raise UserError("not valid UTF-8; the line was skipped")
            self.answer(text)
        except UserError as error:
            self.refuse(message, str(error))
        return True

    @property
    def can_continue(self) -> bool:
        """Whether an empty message continues a text."""
        return bool(self.session.task.output == "text" and self.mode.rows())

    # --------------------------------------------------------------------------- answers

    def answer(self, text: str) -> None:
        """Print the answer to a message and add both to the history."""
        encoded = self.mode.encode(text)
        for line in self.mode.notes():
            self.note(line)
        if self.session.labels:
            self.mode.record(text, self.classify(encoded))
            return
        key = (self.session.seed, self.num_answers, 0)
        self.num_answers += 1
        answer, is_stopped = self.stream(Request(encoded.ids, self.generation, key))
        if answer.strip() or not is_stopped:
            self.mode.record(text, answer)
        if is_stopped:
            partial = "; the partial answer is kept in the history" if self.mode.has_history else ""
            nothing = " before the answer began; the message is discarded"
            self.note(f"stopped{partial if answer.strip() else nothing}")
        elif not answer.strip() and self.is_terminal:
            self.note("(empty answer)")

    def stream(self, request: Request) -> tuple[str, bool]:
        """Generate a completion and print it as it grows, without surrounding white space.

        Returns:
            The completion as generated, and whether Ctrl-C stopped it.
        """
        sequence, shown = self.engine.add(request), ""
        while sequence.finish_reason is None and not self.interrupts.was_pressed:
            self.engine.step()
            shown = print_added(sequence.text.strip(), shown)
        self.engine.cancel(sequence)
        print_added(sequence.text.strip(), shown)
        click.echo()
        if sequence.finish_reason == "length" and self.is_terminal and not self.has_explained_limit:
            self.has_explained_limit = True
            self.note(
                f"truncated after {request.generation.max_new_tokens} tokens; raise "
                "--max-new-tokens for longer answers"
            )
        return sequence.text, sequence.finish_reason == "cancelled"

    def classify(self, encoded: EncodedPrompt) -> str:
        """Predict a label; print it with its probability or, in a terminal, the probabilities of
        all labels. Returns the label."""
        (prediction,) = self.session.predict([encoded], self.num_answers)
        self.num_answers += 1
        if self.is_terminal:
            print_labels(prediction.probabilities, self.session.console)
        else:
            print_generated(f"{prediction.text}\t{prediction.probabilities[prediction.text]:.4f}")
        return prediction.text

    def refuse(self, message: Message, reason: str) -> None:
        self.num_refused += 1
        place = f"{message.where}: " if message.where else ""
        note(warning_console(), f"{place}{reason}", "yellow")

    def note(self, text: str) -> None:
        note(self.session.console, text)

    # -------------------------------------------------------------------------- commands

    def run_command(self, message: Message) -> bool:
        """Run a command; return whether the chat continues."""
        name, _, argument = message.text.strip().partition(" ")
        argument = argument.strip()
        if name == "/quit" and not argument:
            return False
        if name == "/help" and not argument:
            make_console(stderr=True).print(HELP)
        elif name == "/reset" and not argument:
            self.mode.reset()
            self.saved = None
            self.note("started a new conversation")
        elif name == "/save":
            try:
                self.save(argument)
            except UserError as error:
                self.refuse(message, str(error))
        else:
            unknown = f"no such command{did_you_mean(name, list(COMMANDS))}"
            reason = "takes no argument" if name in COMMANDS else unknown
            self.refuse(message, f"{printable(name, 40)}: {reason}; /help lists the commands")
        return True

    def save(self, name: str) -> None:
        """Save the history to a new file, or to the file it was saved to before.

        Raises UserError if the file has an unsupported extension, exists or cannot be written, or
        if there is nothing to save.
        """
        if not name:
            raise UserError("/save: requires a file name, as in /save talk.jsonl")
        path = check_output(name, "/save")
        if path.suffix.lower() not in SAVED_FORMATS:
            raise UserError(f"/save: {path}: name a file that ends in {', '.join(SAVED_FORMATS)}")
        rows = self.mode.rows()
        if not rows:
            raise UserError("/save: there is nothing to save yet")
        if path.exists() and path != self.saved:
            raise UserError(f"/save: {path} already exists; choose another name")
        try:
            write_rows(path, rows, list(rows[0]))
        except OSError as error:
            raise UserError(f"/save: {path}: {error.strerror or error}") from None
        self.saved = path
        self.note(f"saved to {path}")


def print_added(text: str, shown: str) -> str:
    """Print what was added to a growing text since `shown`; return the text."""
    more = text[len(shown) :]
    if more:
        print_generated(more, end="")
    return text


def note(console: Console, text: str, style: str = "dim") -> None:
    """Print a notice without control characters; a terminal wraps it between words."""
    console.print(without_controls(text), style=style, soft_wrap=not console.is_terminal)
