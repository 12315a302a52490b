"""All that there is to say about a folder of pictures."""

from vision_transformers.data.inspection.classes import about_classes
from vision_transformers.data.inspection.copies import about_copies
from vision_transformers.data.inspection.files import about_files_left_out, about_unreadable_files
from vision_transformers.data.inspection.finding import Finding
from vision_transformers.data.inspection.inspected import Inspection
from vision_transformers.data.inspection.near_copies import about_near_copies
from vision_transformers.data.inspection.oddities import about_oddities


def findings_about(inspection: Inspection) -> list[Finding]:
    """Problems first, and of these first what makes numbers untrue."""
    found = [
        *about_copies(inspection),
        *about_near_copies(inspection),
        *about_unreadable_files(inspection),
        *about_classes(inspection.listing),
        *about_oddities(inspection),
        *about_files_left_out(inspection.listing),
    ]
    return sorted(found, key=lambda finding: not finding.is_problem)
