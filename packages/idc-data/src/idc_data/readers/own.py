"""A dataset in the project's own layout as records, so that `idc-data check --fix` works for it too."""

from collections.abc import Iterator

from idc_data.readers.published import Published, Record
from idc_data.rows import METADATA, numbered, parse_line
from idc_data.unchanged import no_change_sentences


class Own(Published):
    """A dataset in the project's own layout; lines with the same images are merged."""

    name = "folder"
    layout = f"<split>/{METADATA} beside the images"

    def read(self) -> Iterator[Record]:  # noqa: D102
        path = self.annotation(f"{self.split}/{METADATA}")
        sentences = no_change_sentences(self.root)
        for number, text in numbered(path) if path else ():
            where = f"{self.split}/{METADATA}:{number}"
            row = parse_line(text, number, where).row(sentences, where)
            yield Record(
                row.id,
                f"{self.split}/{row.before_file_name}",
                f"{self.split}/{row.after_file_name}",
                row.references,
                where,
                changed=row.changed,
                change_type=row.change_type,
                regions=row.regions,
                provenance=row.provenance or {},
                truth=row.truth,
            )
