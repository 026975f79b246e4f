"""The `chat` command: messages in, answers out, at a terminal or through a pipe."""

from pathlib import Path

import click
from rich.console import Console

from llmkit.config.generation import Generation
from llmkit.errors import UserError, count_of, did_you_mean, printable
from llmkit.generation.chat_modes import ChatMode, choose_mode
from llmkit.generation.engine import Engine
from llmkit.generation.prompts import EncodedPrompt
from llmkit.generation.request import Request
from llmkit.generation.session import GenerationSession
from llmkit.io.row_writer import write_rows
from llmkit.model.packed import generation_dtype, packed_linear_layers
from llmkit.paths import check_output
from llmkit.reports.predictions import print_labels
from llmkit.runtime.console import make_console, print_generated, warning_console
from llmkit.runtime.message_reader import Message, MessageReader, is_text
from llmkit.runtime.signals import first_interrupt_noted

COMMANDS = ("/reset", "/save", "/help", "/quit")
HELP = """\
  /reset      start a new conversation
  /save FILE  write it to FILE (.jsonl, .json, .parquet)
  /help       show this list
  /quit       end the chat, as Ctrl-D does
  Ctrl-C      stop an answer, or drop what was typed;
              twice at the prompt: end the chat
  \\           at the end of a line: the message goes on
  \"\"\"         before and after several lines: one message
  A message may begin with a slash after a space."""
SAVED_FORMATS = (".jsonl", ".json", ".parquet")


def chat(session: GenerationSession, system: str | None) -> None:
    """Answer the messages of standard input until it ends or says /quit.

    Raises UserError for a model or decoding that cannot chat and, at the end of a pipe, if a line
    was refused or there was none.
    """
    check_decoding(session.generation)
    try:
        mode = choose_mode(session, system or "")
    except ValueError as error:
        raise UserError(f"--system: {error}; remove it") from None
    reader = MessageReader()
    help_line = "/help lists commands; Ctrl-D ends the chat" if reader.is_terminal else ""
    for line in filter(None, (mode.introduction, help_line)):
        note(session.console, line)
    model = session.model
    with (
        session.accelerator.autocast(),
        packed_linear_layers(model, generation_dtype(model), enabled=not session.labels),
    ):
        conversation = Chat(session, mode, reader.is_terminal)
        for message in reader:
            if not conversation.take(message):
                break
    if reader.is_terminal:
        return
    if not conversation.num_taken:
        raise UserError("standard input has no message; pipe in one per line")
    if conversation.num_refused:
        raise UserError(f"{count_of(conversation.num_refused, 'line')} refused; see above")


def check_decoding(generation: Generation) -> None:
    """Raise UserError for decoding that gives no text until it has ended."""
    if generation.num_beams > 1:
        raise UserError(
            f"generation.num_beams is {generation.num_beams}, and beams cannot be streamed; give "
            "--num-beams 1, or use `llmkit generate`"
        )


class Chat:
    """The state of a chat: the mode, the engine, and what was answered and saved."""

    def __init__(self, session: GenerationSession, mode: ChatMode, is_terminal: bool) -> None:
        self.session, self.mode, self.is_terminal = session, mode, is_terminal
        self.generation = session.generation.model_copy(update={"num_return_sequences": 1})
        # One row: the turns so far stay in its part of the cache.
        self.engine = None if session.labels else Engine(session.model, session.tokenizer, 1)
        self.num_taken = self.num_answers = self.num_refused = 0
        self.saved: Path | None = None
        """The file that holds the current conversation."""
        self.was_cut = False

    def take(self, message: Message) -> bool:
        """Obey a command or answer a message; returns whether the chat goes on.

        Meanwhile the first Ctrl-C at a terminal stops the answer, not the program, also if it comes
        before the answer begins.
        """
        with first_interrupt_noted(enabled=self.is_terminal) as self.is_interrupted:
            return self._take(message)

    def _take(self, message: Message) -> bool:
        self.num_taken += bool(message.text.strip())
        if message.is_command:
            return self.obey(message)
        if not message.text.strip() and not (self.is_terminal and self.can_continue):
            return True
        try:
            if not is_text(message.text):
                raise UserError("not valid UTF-8; nothing was sent")
            self.answer(message.text if message.text.strip() else "")
        except UserError as error:
            self.refuse(message, str(error))
        return True

    @property
    def can_continue(self) -> bool:
        """Whether an empty message means something: to continue a text."""
        return bool(self.session.task.output == "text" and self.mode.rows())

    # --------------------------------------------------------------------------- answers

    def answer(self, text: str) -> None:
        """Print the answer to a message and take note of it."""
        encoded = self.mode.encode(text)
        for line in self.mode.notes():
            self.note(line)
        if self.session.labels:
            self.mode.keep(text, self.classify(encoded))
            return
        key = (self.session.seed, self.num_answers, 0)
        self.num_answers += 1
        answer, is_stopped = self.stream(Request(encoded.ids, self.generation, key))
        if answer.strip() or not is_stopped:
            self.mode.keep(text, answer)
        if is_stopped:
            kept = "; what there is of the answer is kept" if self.mode.is_kept else ""
            nothing = " before the answer began; the message is not kept"
            self.note(f"stopped{kept if answer.strip() else nothing}")
        elif not answer.strip() and self.is_terminal:
            self.note("an empty answer")

    def stream(self, request: Request) -> tuple[str, bool]:
        """Print a completion while it is generated, without surrounding white space.

        Returns:
            The completion as generated, and whether Ctrl-C stopped it.
        """
        sequence, shown = self.engine.add(request), ""
        while sequence.finish_reason is None and not self.is_interrupted():
            self.engine.step()
            shown = write_more(sequence.text.strip(), shown)
        self.engine.cancel(sequence)
        write_more(sequence.text.strip(), shown)
        click.echo()
        if sequence.finish_reason == "length" and self.is_terminal and not self.was_cut:
            self.was_cut = True
            self.note(
                f"cut at {request.generation.max_new_tokens} tokens; --max-new-tokens allows more"
            )
        return sequence.text, sequence.finish_reason == "cancelled"

    def classify(self, encoded: EncodedPrompt) -> str:
        """Print the probabilities of the labels, of a line of a pipe that of the likeliest one;
        returns the likeliest."""
        (prediction,) = self.session.predict([encoded], self.num_answers)
        self.num_answers += 1
        if self.is_terminal:
            print_labels(prediction.probabilities, self.session.console)
        else:
            click.echo(f"{prediction.text}\t{prediction.probabilities[prediction.text]:.4f}")
        return prediction.text

    def refuse(self, message: Message, reason: str) -> None:
        self.num_refused += 1
        place = f"{message.where}: " if message.where else ""
        note(warning_console(), f"{place}{reason}", "yellow")

    def note(self, text: str) -> None:
        note(self.session.console, text)

    # -------------------------------------------------------------------------- commands

    def obey(self, message: Message) -> bool:
        """Carry out a command; returns whether the chat goes on."""
        name, _, argument = message.text.strip().partition(" ")
        argument = argument.strip()
        if name == "/quit" and not argument:
            return False
        if name == "/help" and not argument:
            make_console(stderr=True).print(HELP)
        elif name == "/reset" and not argument:
            self.mode.reset()
            self.saved = None
            self.note("a new conversation")
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
        """Write what was said to a file, which must be new or hold the same conversation.

        Raises UserError if that is not possible.
        """
        if not name:
            raise UserError("/save: name a file, as in /save talk.jsonl")
        path = check_output(name, "/save")
        if path.suffix.lower() not in SAVED_FORMATS:
            raise UserError(f"/save: {path}: name a file that ends in {', '.join(SAVED_FORMATS)}")
        rows = self.mode.rows()
        if not rows:
            raise UserError("/save: there is nothing to save yet")
        if path.exists() and path != self.saved:
            raise UserError(f"/save: {path} exists; name another file")
        try:
            write_rows(path, rows, list(rows[0]))
        except OSError as error:
            raise UserError(f"/save: {path}: {error.strerror or error}") from None
        self.saved = path
        self.note(f"saved as {path}")


def write_more(text: str, shown: str) -> str:
    """Write to stdout what a growing text has gained; returns all that is shown."""
    more = text[len(shown) :]
    if more:
        print_generated(more, end="")
    return text


def note(console: Console, text: str, style: str = "dim") -> None:
    """Print a message next to the answers; a terminal wraps it between words."""
    console.print(text, style=style, soft_wrap=not console.is_terminal)
