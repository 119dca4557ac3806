"""Writes tests/references/changes.json: changes of a drawn picture by NumPy and OpenCV, see trainer/src/changes.

    python trainer/references/changes.py

Pictures are drawn by a formula that trainer/src/changes/tests.rs repeats; the file holds what became of them, in base64.
"""
import base64, json, pathlib
import cv2, numpy as np

def picture(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return ((x * x * 3 + y * 7 + (x * y) // 5 + 40 * ((x // 6 + y // 5) % 3)) % 256).astype(np.uint8)

def half(a):
    h, w = a.shape
    small = cv2.resize(a, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)

def sharpened(a, sigma, amount):
    # OpenCV's blur of floats; its blur of bytes rounds.
    f = a.astype(np.float32)
    size = int(round(sigma * 6 + 1)) | 1
    return np.clip(f + amount * (f - cv2.GaussianBlur(f, (size, size), sigma)), 0, 255).round().astype(np.uint8)

def tilted(a, degrees):
    h, w = a.shape
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), -degrees, 1)
    return cv2.warpAffine(a, matrix, (w, h), flags=cv2.INTER_LINEAR)

CHANGES = {
    'equalised': lambda a: cv2.createCLAHE(2.0, (8, 8)).apply(a),
    'gamma 0.6': lambda a: (255 * (a / 255.0) ** 0.6).round().astype(np.uint8),
    'gamma 1.6': lambda a: (255 * (a / 255.0) ** 1.6).round().astype(np.uint8),
    'range': lambda a: (40 + a.astype(np.float32) * (200 - 40) / 255).round().astype(np.uint8),
    'window': lambda a: np.clip(255 * (a.astype(np.float64) - 25) / (230 - 25), 0, 255).round().astype(np.uint8),
    'softened': half,
    'border': lambda a: cv2.copyMakeBorder(a, *(int(.12 * a.shape[0]),) * 2, *(int(.12 * a.shape[1]),) * 2, cv2.BORDER_CONSTANT, value=90),
    'blur 1': lambda a: cv2.GaussianBlur(a, (0, 0), 1.0),
    'blur 2': lambda a: cv2.GaussianBlur(a, (0, 0), 2.0),
    'sharpened': lambda a: sharpened(a, 2.0, 1.0),
    'tilted': lambda a: tilted(a, 5.0),
    'mirrored': lambda a: a[:, ::-1].copy(),
    'negative': lambda a: 255 - a,
    'turned 90': lambda a: np.rot90(a).copy(),
    'turned 180': lambda a: np.rot90(a, 2).copy(),
    'turned 270': lambda a: np.rot90(a, 3).copy(),
}

if __name__ == '__main__':
    cases = []
    for width, height in ((48, 40), (37, 51)):
        a = picture(width, height)
        for name, change in CHANGES.items():
            b = change(a)
            cases.append({'name': name, 'size': [width, height], 'changed_size': [b.shape[1], b.shape[0]],
                          'greys': base64.b64encode(b.tobytes()).decode()})
    out = pathlib.Path(__file__).parent.parent / 'tests/references/changes.json'
    out.write_text(json.dumps({'opencv': cv2.__version__, 'numpy': np.__version__, 'cases': cases}, indent=0) + '\n')
