"""A Space in headless Chromium: upload a song, read what the page says, take its picture.

    python tests/space_browser.py URL SONG PICTURE.png

writes the picture that the README shows.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars"
    " --disable-background-networking --disable-component-update --disable-sync"
    " --disable-dev-shm-usage"
)
PHONE, DESK = (390, 844), (1000, 560)  # pixels of a page
PATIENCE = 60  # seconds that a page may take on a busy machine


@contextmanager
def browser(microphone: Path | None = None) -> Iterator:
    """A Chromium with an empty profile, and a WAV file for its microphone."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    if microphone:
        options.add_argument("--use-fake-ui-for-media-stream")
        options.add_argument("--use-fake-device-for-media-stream")
        options.add_argument(f"--use-file-for-fake-audio-capture={microphone}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver, url: str, size: tuple[int, int] = DESK) -> None:
    """Load a Space's page in a window of this size and wait until a song can be dropped."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.get(url)
    wait(driver, lambda: driver.find_elements("css selector", "#song input[type=file]"))


def upload(driver, song: Path) -> None:
    driver.find_element("css selector", "#song input[type=file]").send_keys(str(song.resolve()))


def record(driver, seconds: float) -> None:
    for button in ("[aria-label='Record audio']", ".record-button"):
        wait(driver, lambda button=button: driver.find_elements("css selector", f"#song {button}"))
        driver.find_element("css selector", f"#song {button}").click()
    wait(driver, lambda: driver.find_element("css selector", "#song .stop-button").is_displayed())
    time.sleep(seconds)
    driver.find_element("css selector", "#song .stop-button").click()


def genres(driver) -> dict[str, int]:
    """The genres that the page shows and their percentages, from the top, once they are there."""
    selector = "#genres .genre"
    wait(driver, lambda: driver.find_elements("css selector", selector))
    rows = [row.text.split("\n") for row in driver.find_elements("css selector", selector)]
    return {name: int(percent.removesuffix("%")) for name, percent in rows}


def timeline_size(driver) -> tuple[int, int]:
    """Width and height of the timeline's picture on the page, once it is loaded."""
    find = "return document.querySelector('#timeline img')"
    wait(driver, lambda: driver.execute_script(f"{find}?.naturalWidth"))
    return tuple(driver.execute_script(f"let i = {find[7:]}; return [i.width, i.height]"))


def complaint(driver) -> str:
    """The words of the error that the page shows, once they have faded in."""
    toast = ".toast-body.error"
    wait(driver, lambda: any(each.text for each in driver.find_elements("css selector", toast)))
    return driver.find_element("css selector", toast).text


def wait(driver, condition) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, PATIENCE).until(lambda _: condition())


def main() -> None:
    url, song, picture = sys.argv[1:]
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    with browser() as driver:
        open_page(driver, url)
        upload(driver, Path(song))
        print(genres(driver), timeline_size(driver))
        driver.save_screenshot(picture)


if __name__ == "__main__":
    main()
