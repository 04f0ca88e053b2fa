"""Find the files that a path, a folder or a glob pattern stands for.

- `find`: `find_files`, from what a user passes to files, skipped files and splits.
- `opening`: a reader for each file.
- `walk`: the data files of a folder and its subfolders, links followed.
- `patterns`: the data files that a glob pattern stands for.
- `strays`: files and folders that are no part of the data, by name or by what wrote them.
- `skipped`: reasons for skipping a file.
- `tables`: Delta, Iceberg and Hudi tables, which are refused.
- `splits`: the split that a file belongs to, and the choice among splits.
- `card`: the files and splits that the `README.md` of a data set of the Hub declares.
- `checks`: links and mixtures of formats that are refused.
"""
