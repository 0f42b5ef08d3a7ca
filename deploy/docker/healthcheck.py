"""healthcheck: ends with 0 when a URL answers 200 within two seconds. For HEALTHCHECK, in images without curl."""

import sys
import urllib.request


def main() -> int:
    """Ask the URL that is the only argument."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=2) as answer:  # noqa: S310 — only the image's HEALTHCHECK line, beside this file, names it
            return 0 if answer.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
