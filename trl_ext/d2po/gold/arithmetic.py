"""The value of an expression of whole numbers, brackets, `+`, `-` and `*`. Nothing else, and within limits.

    sum     = product (("+" | "-") product)*
    product = factor ("*" factor)*
    factor  = "-" factor | "(" sum ")" | digits

There is no power: `9**9**9**9` is an error of form, not a computation. With the limits below the largest value has
fewer digits than the expression has characters.
"""

MOST_CHARACTERS = 200
MOST_DIGITS = 15
DEEPEST = 20


def evaluate(expression: str) -> int:
    """Value of an expression without blanks.

    Raises:
        ValueError: not such an expression (the place is named), or one over the limits of length, digits or depth.
    """
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(f"an expression of {len(expression)} characters: at most {MOST_CHARACTERS} are valid")
    reader = _Reader(expression)
    value = reader.sum(0)
    if reader.place < len(expression):
        raise reader.error()
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def error(self) -> ValueError:
        return ValueError(f"{self.text!r} is not an expression at character {self.place}")

    def take(self, signs: str) -> str:
        """The next character if it is one of `signs`, else ''."""
        sign = self.text[self.place : self.place + 1]
        if not sign or sign not in signs:
            return ""
        self.place += 1
        return sign

    def sum(self, depth: int) -> int:
        value = self.product(depth)
        while sign := self.take("+-"):
            right = self.product(depth)
            value += right if sign == "+" else -right
        return value

    def product(self, depth: int) -> int:
        value = self.factor(depth)
        while self.take("*"):
            value *= self.factor(depth)
        return value

    def factor(self, depth: int) -> int:
        if depth > DEEPEST:
            raise ValueError(f"{self.text!r} is nested more than {DEEPEST} deep")
        if self.take("-"):
            return -self.factor(depth + 1)
        if self.take("("):
            value = self.sum(depth + 1)
            if not self.take(")"):
                raise self.error()
            return value
        digits = ""
        while digit := self.take("0123456789"):
            digits += digit
        if not digits:
            raise self.error()
        if len(digits) > MOST_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits: at most {MOST_DIGITS} are valid")
        return int(digits)
