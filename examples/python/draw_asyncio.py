"""Draws a handwritten digit with asyncio: python draw_asyncio.py 7 --seed 42"""

import asyncio

import grpc

import digits
from denoised.v1 import digit_service_pb2_grpc


async def draw(arguments):
    drawing = digits.Drawing(arguments)
    async with digits.make_channel(arguments, grpc.aio) as channel:
        stub = digit_service_pb2_grpc.DigitServiceStub(channel)
        # Ctrl-C cancels this task, and that the call: the server stops drawing.
        async for response in stub.GenerateDigit(digits.make_request(arguments), timeout=digits.TIMEOUT_SECONDS):
            drawing.take(response)


def main():
    arguments = digits.parse_arguments()
    try:
        asyncio.run(draw(arguments))
    except grpc.RpcError as error:
        digits.fail(digits.error_text(error))
    except (OSError, ValueError) as error:
        digits.fail(error)
    except KeyboardInterrupt:
        digits.fail("cancelled", 130)


if __name__ == "__main__":
    main()
