"""``python -m zsindex``"""

from zsindex.cli import main

if __name__ == "__main__":
    main()
