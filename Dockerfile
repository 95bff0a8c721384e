# The gateway and its worker: `serve`, `worker`, `migrate` and the operator's commands.
# Nothing is embedded here: name PostgreSQL by DATABASE_URL. compose.yaml shows a whole deployment.
FROM python:3.12-slim AS built
WORKDIR /build
COPY requirements.txt requirements.in pyproject.toml ./
RUN python -m venv /opt/backup-gateway \
    && /opt/backup-gateway/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY app app
COPY db db
RUN /opt/backup-gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
COPY --from=built /opt/backup-gateway /opt/backup-gateway
RUN useradd --system --home-dir /var/lib/backup-gateway --create-home backup-gateway
USER backup-gateway
ENV PATH=/opt/backup-gateway/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
ENTRYPOINT ["backup-gateway"]
CMD ["serve"]
